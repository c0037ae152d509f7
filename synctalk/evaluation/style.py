"""The style sheet of the evaluation page: light and dark, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --paper:#fcfcfa; --ink:#1d2125; --soft:#5c6670; --rule:#d9dde1;
  --box:#f1f3f4; --c0:#7b858e; --c1:#1f6fb5; --c2:#c2571a; --c3:#2b8a57; --shade:#1f6fb514; }
@media (prefers-color-scheme: dark) { :root { --paper:#14171a; --ink:#e6e9ec; --soft:#9aa4ad;
  --rule:#333a41; --box:#1e2327; --c0:#98a2ab; --c1:#5aa9ea; --c2:#ee8a4a; --c3:#5cc28c;
  --shade:#5aa9ea22; } }
* { box-sizing:border-box }
body { margin:0 auto; max-width:1120px; padding:24px 16px 64px; background:var(--paper);
  color:var(--ink); font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif; }
h1 { font-size:1.6rem; line-height:1.2; margin:.2em 0 }
h2 { font-size:1.15rem; margin:2.4em 0 .6em; padding-top:.6em; border-top:1px solid var(--rule) }
p.verdict { font-size:1.1rem; max-width:70ch; margin:.6em 0 }
p.note, figcaption, .legend { color:var(--soft); font-size:.88rem; max-width:80ch }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px;
  margin:20px 0 }
.tile { background:var(--box); border-radius:8px; padding:10px 14px }
.tile b { display:block; font-size:1.55rem; font-variant-numeric:tabular-nums; line-height:1.3 }
.tile span { color:var(--soft); font-size:.84rem; display:block }
.pair { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));
  gap:12px 24px }
.single { max-width:640px }
figure { margin:8px 0; min-width:0 }
video, img { width:100%; height:auto; display:block; border-radius:6px; background:var(--box) }
.scroll { overflow-x:auto } .scroll img { min-width:900px }
table { border-collapse:collapse; font-variant-numeric:tabular-nums; font-size:.92rem; width:100% }
th,td { text-align:right; padding:5px 10px; border-bottom:1px solid var(--rule);
  white-space:nowrap }
th:first-child,td:first-child { text-align:left; padding-left:0; white-space:normal;
  min-width:150px }
th { color:var(--soft); font-weight:600 } tr.ours td { background:var(--box); font-weight:600 }
tr.ours td:first-child { padding-left:8px }
svg { width:100%; height:auto; display:block } svg text { font-size:11px; fill:var(--soft) }
@media (max-width:600px) { svg text { font-size:14px } }
.end { text-anchor:end } .mid { text-anchor:middle }
.grid { stroke:var(--rule); stroke-width:.6 } .axis { stroke:var(--soft); stroke-width:1 }
.level { stroke:var(--soft); stroke-width:1; stroke-dasharray:4 4 } .shade { fill:var(--shade) }
.dot { fill:var(--paper); stroke-width:1.5 }
.line { fill:none; stroke-width:1.5; stroke-linejoin:round }
.c0 { stroke:var(--c0); background:var(--c0) } .c1 { stroke:var(--c1); background:var(--c1) }
.c2 { stroke:var(--c2); background:var(--c2) } .c3 { stroke:var(--c3); background:var(--c3) }
.key { display:inline-block; width:16px; height:3px; margin:0 6px 4px 0; border-radius:2px }
.legend span { margin-right:16px; white-space:nowrap }
dt { font-weight:600; margin-top:.7em } dd { margin:0; color:var(--soft); max-width:80ch }
"""
