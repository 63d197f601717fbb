"""What the layers of a network see, as pictures: filters, what excites units, saliency, maps of attention."""

from html import escape
from typing import Any

from pellucid.views.report_examples import percent, picture
from pellucid.views.svg_more import attention_map


def filters(found: dict[str, Any]) -> str:
    """The weights of the first layer, unit by unit."""
    kind = "kernels" if found["kind"] == "conv" else "units' weights, laid out as the image"
    more = f"; {found['more']:,} smaller ones are not shown" if found.get("more") else ""
    said = (
        f"{found['layer']}: its {kind} ({found['height']} x {found['width']}). Middle grey is 0, white "
        f"{found['scale']:.3g}, black -{found['scale']:.3g}{more}."
    )
    shown = "".join(f"<figure>{picture(one['picture'], weights_of(one['unit']))}</figure>" for one in found["pictures"])
    return f'<h3>First layer</h3><p class="quiet">{escape(said)}</p><div class="tiles">{shown}</div>'


def weights_of(unit: int) -> str:
    return f"weights of unit {unit + 1}"


def excites(unit: int, layer: str) -> str:
    return f"what excites unit {unit + 1} of {layer}"


def exciting(found: dict[str, Any]) -> str:
    """A strip a unit, layer after layer."""
    said = (
        f"The pieces of {found['examples']:,} images at which a unit answers most, the strongest first; of the units "
        "whose answers differ most (Zeiler & Fergus 2014)."
    )
    parts = [f'<h3>What excites the units</h3><p class="quiet">{escape(said)}</p>']
    for layer in found["layers"]:
        sees = "each sees the whole image"
        if layer["field"]:
            sees = f"each sees {layer['field'][0]} x {layer['field'][1]} pixels"
        words = f"{layer['layer']}: {len(layer['units'])} of {layer['of']:,} units; {sees}"
        strips = "".join(
            f"<figure>{picture(one['picture'], excites(one['unit'], layer['layer']))}"
            f"<figcaption>unit {one['unit'] + 1}: up to {one['responses'][0]:.3g}</figcaption></figure>"
            for one in layer["units"]
        )
        parts.append(f'<p>{escape(words)}</p><div class="strips">{strips}</div>')
    return "\n".join(parts)


def saliency(found: dict[str, Any]) -> str:
    """Pairs of an image and what its class hangs on."""
    said = (
        "Beside each image, how much the score of the predicted class changes with each pixel (Simonyan et al. 2014): "
        "white is where it hangs on most."
    )
    parts = [f'<h3>What a decision hangs on</h3><p class="quiet">{escape(said)}</p>']
    for right, title in ((True, "right"), (False, "wrong")):
        some = [one for one in found["examples"] if one["right"] is right]
        if some:
            parts.append(f'<p>{title}</p><div class="shots pairs">{"".join(map(_salient, some))}</div>')
    return "\n".join(parts)


def _salient(one: dict[str, Any]) -> str:
    spoken = f"row {one['row']}, {one['true']}, taken for {one['predicted']}"
    sure = f" <small>{percent(one['probability'])}</small>" if "probability" in one else ""
    return (
        f"<figure>{picture(one['picture'], spoken)}{picture(one['saliency'], f'saliency of {spoken}')}"
        f"<figcaption><b>{escape(one['true'])}</b> → <b>{escape(one['predicted'])}</b>{sure}</figcaption></figure>"
    )


def attention(found: dict[str, Any]) -> str:
    """A map a head."""
    what = "written token (rows) looks at the source" if found["pairs"] else "token (rows) looks at the others"
    layers, heads = found["layers"], found["heads"]
    count = f"{layers:,} layer{'s' * (layers > 1)} of attention with {heads} head{'s' * (heads > 1)}"
    few = ", some of them shown" if layers * heads > len(found["maps"]) else ""
    said = f"How much each {what}, from black (nothing) to white (the most of the map); {count}{few}."
    maps = []
    for one in found["maps"]:
        title = f"{one['layer']}" + (f", head {one['head']}" if found["heads"] > 1 else "")
        if "back" in one:
            title += (
                f": {one['back']:.1f} tokens back in the mean"
                if one["back"] >= 0
                else f": {-one['back']:.1f} tokens ahead in the mean"
            )
        maps.append(attention_map(one["rows"], one["columns"], one["picture"], title=title))
    return f'<p class="quiet">{escape(said)}</p><div class="maps">{"".join(maps)}</div>'
