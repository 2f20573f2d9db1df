"""``python -m napari_monusac``: the command line, also used as the child process of a training job."""

from napari_monusac.cli import main

if __name__ == "__main__":
    main()
