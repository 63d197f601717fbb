"""The look of report.html: light and dark, screen and paper. Colours after Okabe and Ito (2008), distinguishable with
every kind of colour vision."""

from pathlib import Path

COLOURS = (Path(__file__).parents[1] / "web" / "static" / "colours.css").read_text(encoding="utf-8")
CSS = (
    COLOURS
    + """
:root{--error:#b3123f}@media (prefers-color-scheme:dark){:root{--error:#ff6f91}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:18px;margin:40px 0 12px;padding-top:16px;border-top:1px solid var(--line)}
p{margin:6px 0}.quiet,figcaption,.legend,th{color:var(--quiet)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:24px 0 8px}
.card{background:var(--soft);border-radius:8px;padding:12px 16px}.card b{display:block;font-size:24px;font-weight:600;
font-variant-numeric:tabular-nums}.card span{color:var(--quiet);font-size:13px}
.warn{background:var(--warn);border-radius:8px;padding:10px 16px;margin:12px 0}
.wide{overflow-x:auto}.beside{display:flex;flex-wrap:wrap;gap:16px 64px;
align-items:flex-start}.beside>*{max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child,.text{text-align:left}th{font-weight:500;font-size:13px}
tr.own td{font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:24px 32px}
figure{margin:0;break-inside:avoid}figcaption{font-size:13px;margin-bottom:4px}
svg{width:100%;height:auto;display:block;overflow:visible}
svg text{fill:var(--quiet);font-size:12px;font-family:inherit}
svg text.mark{fill:var(--fg);paint-order:stroke;stroke:var(--bg);stroke-width:4px}
svg .grid{stroke:var(--line)}svg .axis{stroke:var(--quiet)}svg line.mark{stroke:var(--fg);stroke-dasharray:2 3}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg line.level{stroke:var(--quiet);stroke-dasharray:1 3}svg text.level{fill:var(--quiet);font-size:11px}
svg .flag path{fill:none;stroke:var(--f);stroke-width:1}svg .flag circle{fill:var(--f)}svg .flag{--f:var(--c2)}
svg .flag.note{--f:var(--c8)}svg .flag.error{--f:var(--error)}svg .flag text{fill:var(--bg);font-size:11px;
font-weight:600}svg .cells{shape-rendering:crispEdges}svg .ground{fill:none;stroke:var(--line)}
svg.network{max-width:720px;min-width:480px}
svg.network text.name,svg.network .group{fill:var(--fg);font-weight:600;font-size:13px}
svg.network .shape{fill:var(--fg);font-variant-numeric:tabular-nums}svg.network .small{font-size:11px}
svg.network .kind{fill:var(--quiet);font-weight:400}svg.network .times{fill:var(--c2);font-weight:700}
svg.network .frame{fill:var(--fg);fill-opacity:.035;stroke:var(--line)}svg.network .fold{stroke:var(--c2);
stroke-dasharray:4 3;stroke-opacity:.6}svg.network .way,svg.network .arc,svg.network .loop{fill:none;
stroke:var(--quiet)}
svg.network .sheet,svg.network .unit,svg.network .cell{fill:color-mix(in srgb,var(--c) 28%,var(--bg));stroke:var(--c)}
svg.network .dot{fill:var(--c)}svg.network .loop{stroke:var(--c);stroke-width:1.3}svg.network .layer:hover .name{
text-decoration:underline}svg.network .plus{fill:var(--bg);stroke:var(--quiet)}
svg .hover{fill:transparent}svg .hover:hover{fill:var(--quiet);fill-opacity:.12}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;padding:0;margin:4px 0 0;font-size:13px}
.legend i{display:inline-block;width:18px;margin-right:6px;vertical-align:middle}
.confusion td,.confusion th{text-align:center;padding:5px 9px;border:1px solid var(--bg)}
.confusion th:first-child{text-align:right}.confusion td{
background:color-mix(in srgb,var(--c2) calc(var(--v)*60%),var(--soft))}
.confusion td.hit{background:color-mix(in srgb,var(--c1) calc(var(--v)*50%),var(--soft))}
pre{background:var(--soft);border-radius:8px;padding:14px 16px;overflow-x:auto;
font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
code{overflow-wrap:anywhere;font:13px ui-monospace,Menlo,Consolas,monospace;background:var(--soft);border-radius:4px;
padding:1px 5px}
.contents{display:flex;flex-wrap:wrap;gap:4px 16px;margin:20px 0 0;font-size:14px}.contents a{color:var(--accent);
text-decoration:none}.contents a:hover{text-decoration:underline}
.badge{display:inline-block;min-width:18px;height:18px;border-radius:9px;background:var(--c2);color:var(--bg);font:600
11px/18px system-ui,sans-serif;text-align:center;padding:0 4px}.badge.note{background:var(--c8)}.badge.error{
background:var(--error)}ul.meaning{margin:4px 0;padding-left:20px}ul.meaning b{font-weight:600}
ul.flagged{list-style:none;padding:0}ul.flagged li{margin:4px 0}
@media (max-width:480px){main{padding:24px 16px 48px}th,td{padding-right:9px}table.short td{white-space:normal}}
:target{scroll-margin-top:12px}div:target{outline:2px solid var(--accent)}
summary{cursor:pointer;margin:12px 0}details[open]>summary{margin-bottom:16px}ul.notes{padding-left:20px;margin:6px 0}
@media print{:root:root{--bg:#fff;--fg:#000;--quiet:#444;--line:#ccc;--soft:#f3f3f3;--warn:#f3f3f3;--c1:#0072b2;
--c2:#d55e00;
--c3:#008f68;--c4:#a6478f;--c5:#b87f00;--c6:#3c8fc4;--c7:#7a6a00;--c8:#6b7280}main{max-width:none;padding:0 14px}
h2{break-after:avoid}.contents{display:none}.charts{grid-template-columns:1fr 1fr}body{font-size:12px;
print-color-adjust:exact;
-webkit-print-color-adjust:exact}
pre{white-space:pre-wrap}.wide{overflow:visible}
.wide table{font-size:10px}th{font-size:inherit;overflow-wrap:anywhere}th,td{white-space:normal;padding-right:6px}}
"""
)
