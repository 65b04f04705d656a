"""The form of everybody else's table: a row for each image, a column for each label; see `ROLES` for the others."""

import pandas as pd

from ..form import Form
from ..words import squash

ROLES = ("image", "patient", "study", "split", "source", "age", "sex", "view", "scanner")
"""What a column may tell besides labels."""
NEEDED = ("image", "patient")
ALIASES = {
    "image": (
        (
            *("image", "imagename", "imagepath", "imagefile", "imagefilename", "img", "imgname", "imgpath", "imgfile"),
            *("file", "filename", "filepath", "path", "pathtoimage", "dicompath", "dicomfile", "datei", "dateiname"),
        ),
        ("imageid", "imageindex", "imgid", "dicom", "dicomid", "scan", "volume", "bild"),
    ),
    "patient": (
        (
            *("patient", "patientid", "patientno", "patientnr", "patientnumber", "patientcode", "pat", "patid", "pid"),
            *("subject", "subjectid", "subjectno", "deidpatientid"),
        ),
        ("participant", "participantid", "case", "caseid", "mrn"),
    ),
    "study": (("study", "studyid", "studyuid", "studyinstanceuid"), ("accession", "accessionnumber", "exam", "examid")),
    "split": (("split", "partition", "subset", "set", "datasplit"), ()),
    "source": ((), ()),
    "age": (("age", "patientage", "patientsage", "ageyears", "ageatstudy", "alter"), ()),
    "sex": (("sex", "gender", "patientsex", "patientssex", "patientgender", "geschlecht", "sexe", "sexo"), ()),
    "view": (("view", "viewposition", "projection"), ("frontallateral",)),
    "scanner": (("scanner", "scannermodel", "manufacturermodelname"), ("manufacturer", "vendor")),
}
"""How columns of a role are usually called, and how they are called at times, without case, blanks and marks."""


def names_images(cells: pd.DataFrame) -> bool:
    """Whether a column is called as those of images usually are."""
    return not {squash(str(name)) for name in cells.columns}.isdisjoint(ALIASES["image"][0])


FORM = Form(name="generic", recognises=lambda cells: True)
