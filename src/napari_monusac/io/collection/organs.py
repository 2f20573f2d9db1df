"""Organ of a TCGA patient, from the tissue source site in the barcode (``TCGA-A2-...``: A2 is breast).

Source: the GDC's table of tissue source sites (gdc.cancer.gov, TCGA code tables), the projects BRCA, KIRC, KIRP, KICH,
LUAD, LUSC and PRAD, which are MoNuSAC's four organs. Other sites have no organ here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_SITES = {
    "breast": "3C 4H 5L 5T A1 A2 A7 A8 AC AN AO AQ AR B6 BH C8 D8 E2 E9 EW GI GM HN JL LD LL LQ MS OK OL PE PL S3 UL "
    "UU V7 W8 WT XX Z7",
    "kidney": "2Z 3Z 4A 5P 6D A3 A4 AK AL AS AT AV B0 B1 B2 B3 B4 B8 B9 BP BQ CB CJ CW CZ DV DW DZ EU EV F9 G6 G7 GK "
    "GL HE IA IZ J7 KL KM KN KO KV MH MM MW NP O9 P4 PJ Q2 SX T7 TQ UN UW UZ V9 WN Y8",
    "lung": "05 18 21 22 33 34 35 37 38 39 43 44 46 49 4B 50 51 52 53 55 56 58 60 62 63 64 66 67 68 69 6A 70 71 73 75 "
    "77 78 79 80 83 85 86 90 91 92 93 94 95 96 97 98 99 J1 J2 L3 L4 L9 LA MF MN MP NC NJ NK O1 O2 S2 XC",
    "prostate": "2A CH EJ FC G9 H9 HC HI J4 J9 KC KK M7 MG QU SU TK TP V1 VN VP WW X4 XA XJ XK XQ YJ YL ZG",
}
#: Organ of each known tissue source site.
ORGANS: Mapping[str, str] = MappingProxyType({site: organ for organ, sites in _SITES.items() for site in sites.split()})

# with other signs for its hyphens only where a digit that is no year stands in the patient's part: TCGA_v2_data is none
_BARCODE = re.compile(
    r"(?<![A-Za-z0-9])TCGA(?:-|(?P<gap>[_. ]))([A-Za-z0-9]{2})(?(gap)(?P=gap)(?=[A-Za-z]{0,3}\d)(?!(?:19|20)\d\d)|-)"
    r"([A-Za-z0-9]{4})(?![A-Za-z0-9])",
    re.IGNORECASE,
)


def patient_barcode(name: str) -> str | None:
    """Return ``TCGA-XX-XXXX``, the patient, from a file's or folder's name; None where there is no barcode.

    Programs that take no hyphens write underscores, dots or blanks in their place: the patient is the same.

    Parameters
    ----------
    name : str
        For example ``TCGA-5P-A9K0-01Z-00-DX1_1``.
    """
    match = _BARCODE.search(name)
    return f"TCGA-{match.group(2)}-{match.group(3)}".upper() if match else None


def organ_of(name: str) -> str | None:
    """Return breast, kidney, lung or prostate for a TCGA name; None where it is not known."""
    match = _BARCODE.search(name)
    return ORGANS.get(match.group(2).upper()) if match else None
