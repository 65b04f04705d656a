"""The form of everybody else's table: a row for each image, a column for each label; see `ROLES` for the others."""

from __future__ import annotations

from .form import Form

ROLES = ("image", "patient", "study", "split", "source", "age", "sex", "view")
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
    "split": (("split", "partition", "subset", "set", "datasplit"),),
    "source": (("source",),),
    "age": (("age", "patientage", "ageyears", "ageatstudy", "alter"),),
    "sex": (("sex", "gender", "patientsex", "patientgender", "geschlecht", "sexe", "sexo"),),
    "view": (("view", "viewposition", "projection"),),
}
"""How columns of a role are usually called, without case, blanks and marks; the second names only where no first is."""

FORM = Form(name="generic", recognises=lambda cells: True)
