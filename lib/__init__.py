"""A reproducibility study of five facial-attribute-editing GANs.

Start with `lib.papers`: one folder a paper, model.py to read beside the PDF. `lib.baselines` holds the methods that they compare with,
`lib.evaluation` the judges and measures that all share, `lib.training` the loop and what it leaves, `lib.pages` what is shown, `lib.data` and
`lib.synthetic` the faces. `lib.study` opens a study for a notebook; `lib.run` and `lib.train` are the command lines. CONTRIBUTING.md has the map.
"""
