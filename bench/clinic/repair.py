def examine_with_repair(case, seed, **more):
    raise NotImplementedError
