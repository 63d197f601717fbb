"""Convolution and pooling written anew in NumPy, place by place: what the layers are compared with."""

import itertools

import numpy as np


def padded(x, pads, value=0.0):
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def stops(x, size, stride, dilation):
    """(output place, what the window sees there [batch, *size, n]) for every stop on a padded image."""
    spans = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    counts = [(n - span) // s + 1 for n, span, s in zip(x.shape[1:-1], spans, stride, strict=True)]
    for at in itertools.product(*map(range, counts)):
        cuts = [slice(a * s, a * s + span, d) for a, s, span, d in zip(at, stride, spans, dilation, strict=True)]
        yield at, x[(slice(None), *cuts)]


def filled(pairs):
    """[((i, j), values [batch, n])] -> [batch, h, w, n]"""
    pairs = list(pairs)
    y = np.zeros((len(pairs[0][1]), *(1 + np.max([at for at, _ in pairs], 0)), pairs[0][1].shape[-1]))
    for at, values in pairs:
        y[(slice(None), *at)] = values
    return y


def correlate(x, w, stride=1, pads=0, dilation=1, groups=1):
    """x: [batch, *places, n], w: [*size, n / groups, width]; numbers or one an axis, pads also pairs."""
    axes = x.ndim - 2
    each = lambda v: (v,) * axes if isinstance(v, int) else v  # noqa: E731
    pads = [(p, p) if isinstance(p, int) else p for p in each(pads)]
    n, width = x.shape[-1] // groups, w.shape[-1] // groups

    def at_once(seen):
        parts = [
            np.tensordot(seen[..., g * n : (g + 1) * n], w[..., g * width : (g + 1) * width], axes + 1)
            for g in range(groups)
        ]
        return np.concatenate(parts, -1)

    return filled(
        (at, at_once(seen)) for at, seen in stops(padded(x, pads), w.shape[:axes], each(stride), each(dilation))
    )


def spread(x, w, stride, groups=1):
    """The transpose, padding "valid": every input lays its pattern on the output. w: [*size, n, width / groups]."""
    axes, n, each = x.ndim - 2, x.shape[-1] // groups, w.shape[-1]
    size = w.shape[:axes]
    y = np.zeros((len(x), *((m - 1) * stride + k for m, k in zip(x.shape[1:-1], size, strict=True)), each * groups))
    for at in np.ndindex(x.shape[1:-1]):
        for g in range(groups):
            laid = np.tensordot(
                x[(slice(None), *at, slice(g * n, (g + 1) * n))], w[..., g * n : (g + 1) * n, :], ([1], [axes])
            )
            cuts = [slice(a * stride, a * stride + k) for a, k in zip(at, size, strict=True)]
            y[(slice(None), *cuts, slice(g * each, (g + 1) * each))] += laid
    return y


def pool(x, function, size, stride, pads=0, value=np.nan):
    """`function` (np.nanmax, np.nanmean) over each window; what lies outside is `value`."""
    axes = x.ndim - 2
    x = padded(x, ((pads, pads),) * axes, value)
    inside = tuple(range(1, 1 + axes))
    return filled(
        (at, function(seen, axis=inside)) for at, seen in stops(x, (size,) * axes, (stride,) * axes, (1,) * axes)
    )
