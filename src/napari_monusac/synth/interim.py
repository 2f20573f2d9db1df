"""Stand-in until io.annotations is there: the plainest Aperio XML."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.nuclei import Annotation, Attributes


def _attributes(pairs: Attributes) -> str:
    return "".join(f" {k}={quoteattr(v)}" for k, v in pairs)


def write_annotation(annotation: Annotation, path: str | Path) -> None:
    """Write Aperio XML."""
    out = [f"<Annotations{_attributes(annotation.attributes)}>"]
    for i, layer in enumerate(annotation.layers):
        out.append(f"\t<Annotation{_attributes(layer.attributes)}>\n\t\t<Attributes>")
        out.append(f"\t\t\t<Attribute{_attributes(layer.class_attributes or ())}/>\n\t\t</Attributes>\n\t\t<Regions>")
        out.append("\t\t\t<RegionAttributeHeaders>")
        out += [f"\t\t\t\t<AttributeHeader{_attributes(h)}/>" for h in layer.region_headers]
        out.append("\t\t\t</RegionAttributeHeaders>")
        for region in annotation.regions:
            if region.layer == i:
                out.append(f"\t\t\t<Region{_attributes(region.attributes)}>\n\t\t\t\t<Attributes/>\n\t\t\t\t<Vertices>")
                out += [f'\t\t\t\t\t<Vertex X="{int(x)}" Y="{int(y)}" Z="0"/>' for y, x in region.vertices]
                out.append("\t\t\t\t</Vertices>\n\t\t\t</Region>")
        out.append("\t\t</Regions>\n\t\t<Plots/>\n\t</Annotation>")
    atomic_write_text(path, "\n".join([*out, "</Annotations>\n"]))
