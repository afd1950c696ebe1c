"""A reproducibility study of five facial-attribute-editing GANs.

Start with `lib.papers`: one paper, one file, read beside its PDF. What several papers only cite is shared:
`blocks` (layers, weight init), `losses` (pure functions), `engine` (the one training loop), `data` and `synthetic`
(faces), `judges` and `metrics` (the one evaluation), `runs`, `claims`, `tables`, `figures`, `data_views`, `widgets`, `report` (what a run
leaves and how it is shown), `run` (the command line).
"""
