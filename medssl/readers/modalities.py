"""What images are called, by the modality that their files state: nobody calls an ultrasound a radiograph."""

RADIOGRAPH = "radiograph"
WORDS = {
    **dict.fromkeys(("CR", "DX", "RG"), RADIOGRAPH),
    "MG": "mammogram",
    **dict.fromkeys(("PX", "IO"), "dental X-ray"),
    "XA": "angiography",
    "RF": "fluoroscopy",
    "US": "ultrasound",
    "PT": "PET",
    "NM": "scintigraphy",
    "OP": "fundus",
    "OPT": "OCT",
    "ES": "endoscopy",
    "XC": "camera",
    **dict.fromkeys(("SM", "GM"), "microscopy"),
}
"""Modality (DICOM PS3.3 C.7.3.1.1.1) → what it is called; those that are not here, such as CT, by their own letters."""
NOUNS = (RADIOGRAPH, "mammogram")
"""Words that need no ``image`` behind them."""
PROJECTIONS = (RADIOGRAPH, "angiography", "fluoroscopy")
"""X-ray images without depth; a station may state one for the other, as a fluoroscope that takes a chest X-ray."""
STATES_NOTHING = ("", "OT", "SC")
"""What files have for a modality that is none: nothing, "other", or a word for screenshots."""


def image_word(modality: str, spatial_dims: int) -> str:
    """What one image is called: ``radiograph``, ``ultrasound image``, ``CT volume``; neutral where nothing is stated.

    Args:
        modality: as DICOM writes it, such as ``CR``; "" where the files do not state it.
        spatial_dims: 2 or 3.
    """
    word = WORDS.get(modality, modality)
    if spatial_dims == 2 and word in NOUNS:
        return word
    return f"{word} {'image' if spatial_dims == 2 else 'volume'}".strip()


def are_of_one_kind(first: str, second: str) -> bool:
    """Whether two modalities may be taken for each other: one kind, such as CR and DX, or one not stated."""
    if first in STATES_NOTHING or second in STATES_NOTHING:
        return True
    words = {WORDS.get(modality, modality) for modality in (first, second)}
    return len(words) == 1 or words <= set(PROJECTIONS)
