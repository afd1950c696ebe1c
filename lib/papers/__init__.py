"""The papers, one file each. Every file offers the same plain names, and nothing checks them but the tests:

`TITLE`, `CITATION`      what is reproduced.
`Config`                 frozen dataclass; `lib.params.from_params` fills it strictly. `PROFILES` maps a name to a function returning one.
`build(cfg) -> Nets`     the networks of one model.
`d_loss`, `g_loss`       (nets, batch, cfg) -> (total to minimise, {term: detached scalar}).
`stages(cfg)`            what the engine trains, in order: which networks, which losses, how often, on which attributes.
`edit(nets, x, target)`  -> Edit(image, mask or None, ...): how a user changes an attribute.
`DEVIATIONS`, `CLAIMS`   what we do otherwise than the paper, and what the paper asserts, with criteria written before the run.
"""
