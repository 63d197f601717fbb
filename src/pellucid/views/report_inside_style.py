"""The look of the sections of report.html that show what a network has learned."""

LEVEL = (0, 10, 20, 32, 45, 60, 75, 92)  # percent of colour behind a token, by its surprise

CSS = (
    """
h3{font-size:15px;margin:20px 0 4px}
.charts.halves{grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr))}
svg .bar{fill:var(--c1)}svg .gap{fill:var(--c2)}svg .spare{fill:var(--c1);fill-opacity:.4}
svg .spread{stroke:var(--fg);stroke-width:1.5}
svg text.value{fill:var(--fg)}svg .points circle{fill:var(--c1);fill-opacity:.5}
.shots,.tiles,.strips{display:flex;flex-wrap:wrap;gap:14px;margin:10px 0}
.shots img{width:72px;height:72px;object-fit:contain;background:var(--soft);border-radius:4px}
.shots.pairs img+img{margin-left:3px}.shots svg{width:120px}.shots figcaption{max-width:150px;overflow-wrap:anywhere}
.shots b,.texts b{color:var(--fg);font-weight:600}
.tiles{gap:6px}.tiles img{width:44px;height:44px;object-fit:contain}.strips img{height:44px;max-width:100%}
.strips{gap:14px 22px}img{image-rendering:pixelated;display:inline-block;vertical-align:top}
svg image{image-rendering:pixelated}
.texts{padding-left:0;list-style:none}.texts li{margin:8px 0;overflow-wrap:anywhere}
td.level{background:color-mix(in srgb,var(--c1) calc(var(--v)*45%),transparent)}
.scores td,.scores th{padding-left:10px}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));gap:20px}
.map svg text{font-size:10px}
.surprise{font:14px/1.9 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.surprise span,.levels span{border-radius:2px}.levels{font-size:13px}.levels span{padding:2px 7px}
"""
    + "".join(f".s{i}{{background:color-mix(in srgb,var(--c5) {v}%,transparent)}}" for i, v in enumerate(LEVEL))
    + """
@media print{.shots,.tiles,.strips,.maps{break-inside:auto}figure{break-inside:avoid}}
"""
)
