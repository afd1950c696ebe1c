"""A reproducibility study of five facial-attribute-editing GANs.

Start with `lib.papers`: one paper, one file, read beside its PDF; `lib.baselines` holds the methods they compare with. What several papers only
cite is shared: `blocks` (layers, weight init), `copying` (a start for short trainings), `winograd` (a way to convolve), `losses` (pure functions),
`engine`, `step`, `precision` and `parallel` (the one training loop, its steps, their numbers, several processes), `data` and `synthetic` (faces),
`judges` and `metrics` (the one evaluation), `side_by_side` and `verification` (methods compared; faces recognised), `runs`, `provenance`, `claims`
(what a run is and leaves), `tables`, `figures`, `schematics`, `data_views`, `widgets`, `report`, `comparison` (how it is shown), `speed` (what the
benchmarks measured), `run` and `worklist` (the command lines). What one paper's tables need besides has a module named for its subject: `hole`,
`inpainting` and `rating` (ATI-GAN), `transfer`, `phi` and `landmarks` (DIAT), `flips` and `background` (SG-GAN), `translation` (BridgeGAN).
"""
