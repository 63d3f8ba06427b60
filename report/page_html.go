package report

// The page's parts. In pageStyle there are no comments, because html/template
// takes them out, and the policy has the hash of the style as it arrives.

// firstElement is the head's first, behind which [WithBase] writes another.
const firstElement = `<meta charset="utf-8"/>
`

const pageHead = `<!DOCTYPE html>
<html lang="en">
<head>
` + firstElement + `<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta name="robots" content="noindex"/>
{{if .Refresh}}<meta http-equiv="refresh" content="{{.Refresh}}"/>
{{end}}<link rel="icon" href="data:,"/>
<title>Mirror report</title>
`

const pageStyle = `
:root {
  color-scheme: light dark;
  --page: #f5f6f7; --card: #ffffff; --ink: #1b1f24; --muted: #555d66; --rule: #d5d9de; --soft: #eceef1;
  --live: #0b5cad; --shadow: #a84300; --good: #17653a; --bad: #a4161a; --warn: #785000;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121518; --card: #1a1e23; --ink: #e5e8eb; --muted: #a2abb4; --rule: #363d45; --soft: #252b31;
    --live: #6db5ff; --shadow: #ff9d57; --good: #72d099; --bad: #ff8f87; --warn: #e5b84a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; -webkit-text-size-adjust: 100%;
}
h1, h2, h3, h4, p, ul, ol, dl, dd, pre { margin: 0; }
ul, ol { padding: 0; list-style: none; }
h1 { font-size: 1rem; font-weight: 650; }
h3 { font-size: 1rem; font-weight: 650; }
h4 { font-size: .93rem; font-weight: 650; margin: 1rem 0 .25rem; }
a { color: var(--live); text-underline-offset: .15em; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible, pre:focus-visible {
  outline: 3px solid var(--live); outline-offset: 2px; border-radius: 3px;
}
code, pre, .value { font-family: var(--mono); font-size: .87em; }
code, .value, bdi { unicode-bidi: isolate; }
.muted { color: var(--muted); }
.small { font-size: .87rem; }
.apart { margin-top: .5rem; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .25rem; background: var(--card); padding: .25rem .5rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
header { display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; align-items: baseline; padding-bottom: .75rem; }
header p, header ul { font-size: .87rem; }
header ul { display: flex; flex-wrap: wrap; gap: 0 1rem; margin-left: auto; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 1rem clamp(.75rem, 2vw, 1.25rem); min-width: 0; }
.overview { margin-bottom: 1rem; }
.overview h2 { font-size: 1rem; font-weight: 650; }
.overview li { display: grid; grid-template-columns: minmax(9rem, 12rem) minmax(9rem, 16rem) 1fr; gap: .1rem 1rem; padding: .5rem 0; border-top: 1px solid var(--rule); align-items: center; }
.overview ul { margin-top: .5rem; }
.mirror { margin-top: 2rem; }
.mirror:first-of-type { margin-top: 0; }
.mirror > .card { margin-bottom: 1rem; }
.name { font-size: 1rem; font-weight: 650; }
.name .muted { font-weight: 400; }
.verdict { font-size: clamp(1.3rem, 1.1rem + 1vw, 1.5rem); font-weight: 650; line-height: 1.25; letter-spacing: -.01em; margin: .5rem 0 .65rem; }
.verdict::first-letter { text-transform: uppercase; }
time { white-space: nowrap; }
.status { display: inline-flex; gap: .45rem; align-items: center; font-weight: 650; white-space: nowrap; }
.status svg { width: 1.35rem; height: 1.35rem; flex: none; padding: .2rem; border-radius: 50%; background: currentColor; }
.status path { fill: none; stroke: var(--card); stroke-width: 2.4; stroke-linecap: round; stroke-linejoin: round; }
.status.bad svg { border-radius: 3px; }
.status.warn svg { border-radius: 30% 30% 50% 50%; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .calm { color: var(--muted); }
.banner { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; justify-content: space-between; }
.state { display: grid; gap: .2rem; }
.mistakes { display: grid; gap: .5rem; margin: .35rem 0; border-left: 4px solid var(--bad); padding-left: .6rem; overflow-wrap: anywhere; }
.warning { border-left: 4px solid var(--warn); padding-left: .6rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem; margin-bottom: 1rem; align-items: stretch; }
.column { display: flex; flex-direction: column; gap: 1rem; min-width: 0; }
.column > .card:last-child { flex: 1; }
.chart { display: block; margin-top: .5rem; overflow: visible; }
.chart text { font-size: 12px; fill: var(--muted); paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round; }
.chart line { stroke: var(--rule); }
.plot { overflow: visible; }
.plot path { fill: none; stroke-width: 2.25px; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round; }
.rate { stroke: var(--ink); }
.live { stroke: var(--live); }
.shadow { stroke: var(--shadow); stroke-dasharray: 6 5; }
.volume { fill: var(--muted); opacity: .55; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.25rem; font-size: .87rem; margin-top: .75rem; }
.legend li { display: flex; gap: .4rem; align-items: center; }
.legend path { fill: none; stroke-width: 2.5; stroke-linecap: round; }
.key-live { color: var(--live); font-weight: 650; } .key-shadow { color: var(--shadow); font-weight: 650; }
.bar { display: block; width: 100%; height: 7px; margin-top: 3px; }
.bar rect { stroke: none; }
.bar .track { fill: var(--soft); } .bar .live { fill: var(--live); } .bar .shadow { fill: var(--shadow); }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-size: .87rem; color: var(--muted); padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-top: 0; font-size: .87rem; font-weight: 600; color: var(--muted); vertical-align: bottom; }
tbody th { font-weight: 600; }
thead .key-live { color: var(--live); } thead .key-shadow { color: var(--shadow); }
.number { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; }
.scroll table { overflow-wrap: normal; }
.reason { white-space: nowrap; }
.matrix { width: auto; }
.matrix th, .matrix td { padding: .35rem .75rem; }
.matrix .same { background: var(--soft); font-weight: 600; }
.matrix .other { color: var(--bad); font-weight: 650; }
.matrix .zero { color: var(--muted); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .9rem 1rem; margin-top: .75rem; }
.facts dt { font-size: .87rem; color: var(--muted); }
.facts dd { font-size: 1.15rem; font-weight: 600; line-height: 1.3; }
.facts dd.small { font-size: .8rem; font-weight: 400; color: var(--muted); }
.difference { border-top: 1px solid var(--rule); padding: .65rem 0; }
.difference:last-child { padding-bottom: 0; }
.what { display: flex; flex-wrap: wrap; gap: .1rem 1rem; justify-content: space-between; align-items: baseline; }
.what code { font-size: .93em; font-weight: 650; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: .35rem 1rem; margin: .35rem 0; }
.side { border-left: 3px solid var(--live); padding-left: .6rem; }
.side.dashed { border-left: 3px dashed var(--shadow); }
.side dt { font-size: .8rem; }
.side dd, .values td { white-space: pre-wrap; }
.values td, .values th { min-width: 8rem; overflow-wrap: anywhere; }
details { margin-top: .6rem; }
summary { cursor: pointer; color: var(--ink); }
.mismatch { border-top: 1px solid var(--rule); padding: .45rem 0; margin: 0; }
.mismatch summary > span { margin-right: .9rem; }
.mismatch .scroll { margin: .5rem 0 .25rem; }
.mismatches { margin-top: .5rem; }
pre { background: var(--soft); border-radius: 4px; padding: .6rem .75rem; overflow-x: auto; margin: .35rem 0 .75rem; user-select: all; }
.tally { margin-top: .75rem; }
.tally:first-of-type { margin-top: .25rem; }
@media (max-width: 40rem) {
  header ul { margin-left: 0; }
  .overview li { grid-template-columns: 1fr; }
  .matrix th, .matrix td { padding: .35rem .4rem; }
  th, td { padding-right: .5rem; }
}
@media (forced-colors: active) {
  .status svg { background: CanvasText; forced-color-adjust: none; }
  .chart path, .legend path { stroke: CanvasText; }
}
@media print {
  body { max-width: none; padding: 0; } .card { break-inside: avoid; }
}
`

const pageBody = `</head>
<body>
{{- define "time"}}<time datetime="{{.At}}" title="{{.At}}">{{.Ago}}</time>{{end}}
{{- define "since"}}<time datetime="{{.At}}">{{.At}}</time> ({{.Ago}}){{end}}
{{- define "status"}}<span class="status {{.Class}}"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="{{.Shape}}"/></svg>{{.Word}}</span>{{end}}
<a class="skip" href="#main">Skip to the report</a>
<header>
<h1>Mirror report</h1>
<p class="muted">as of {{template "stamp" .Generated}}</p>
<ul>
{{if .Refresh}}<li>Loads anew every {{.Refresh}} s: <a href="?refresh=0">pause</a></li>
{{else}}<li>Refresh is paused: <a href="?refresh=0">load anew</a>, <a href="?">resume</a></li>
{{end}}<li><a href="report.json">report.json</a></li>
<li><a href="metrics">metrics</a></li>
</ul>
</header>
<main id="main">
{{- define "stamp"}}<time datetime="{{.At}}">{{.At}}</time>{{end}}
{{- if not .Mirrors}}
<section class="card" aria-labelledby="none">
<h2 class="name" id="none">All mirrors</h2>
<p class="verdict">No mirror yet</p>
<p>This Traefik has no middleware that mirrors. One appears here as soon as a router names it; it needs the option <code>url</code>, the shadow.</p>
</section>
{{- end}}
{{- if .Many}}
<nav class="card overview" aria-labelledby="overview">
<h2 id="overview">All mirrors</h2>
<ul>
{{- range .Mirrors}}
<li><span>{{template "status" .Status}}</span> <a href="#{{.ID}}"><bdi>{{.Name}}</bdi></a> <span>{{.Verdict}}</span></li>
{{- end}}
</ul>
</nav>
{{- end}}
{{- range .Mirrors}}
{{template "mirror" .}}
{{- end}}
</main>
</body>
</html>
{{define "mirror"}}<section class="mirror" id="{{.ID}}" aria-labelledby="{{.ID}}-name">
<div class="card">
<div class="banner">
<h2 class="name" id="{{.ID}}-name"><bdi>{{.Name}}</bdi>{{if .Shadow}} <span class="muted">mirrors {{.Share}} to <bdi>{{.Shadow}}</bdi></span>{{end}}</h2>
{{template "status" .Status}}
</div>
<p class="verdict">{{.Verdict}}</p>
<div class="state">
{{- range .Warnings}}
<p class="warning"><strong>Note:</strong> {{.}}</p>
{{- end}}
{{- if .Mistakes}}
<p>Live is served as without the mirror, until these options are put right. (A middleware with <code>serve</code> answers 500.)</p>
<ul class="mistakes">
{{- range .Mistakes}}
<li><bdi class="value">{{.}}</bdi></li>
{{- end}}
</ul>
{{- else if .Paused}}
<p><strong>Paused</strong> since {{template "since" .PausedSince}}: the shadow kept failing and is left alone, but for a probe now and then.</p>
{{- else}}
<p><strong>Running.</strong></p>
{{- end}}
<p>{{if .LostNone}}{{.Lost}}.{{else}}<strong>{{.Lost}}.</strong>{{end}}</p>
{{- if .LastError}}
<p>Last error {{template "since" .LastErrorAt}}: <bdi class="value">{{.LastError}}</bdi></p>
{{- else}}
<p>No error so far.</p>
{{- end}}
{{- if .Mistakes}}
{{- else if .Compares}}
{{- if .Reasons}}
<ul class="reasons">
{{- range .Reasons}}
<li><bdi class="value">{{.}}</bdi></li>
{{- end}}
</ul>
{{- end}}
<p class="muted">{{.Compared}} compared since {{template "since" .ComparedSince}}{{if .Epoch}}, <bdi class="value">{{.Epoch}}</bdi>{{end}}.{{if .Previous}} Before: <bdi class="value">{{.Previous}}</bdi>.{{end}}</p>
{{- range .Control}}
<p class="small muted">{{.}}</p>
{{- end}}
{{- else}}
<p>To compare the answers of live and the shadow, give the middleware the option <code>compare</code>. As a label: <code>{{.CompareLabel}}</code></p>
{{- end}}
</div>
</div>
{{- if or .Rate .Latency}}
<div class="grid">
{{- if .Compares}}
<div class="column">
{{- with .Rate}}{{template "rate" .}}{{end}}
{{- with .Statuses}}{{template "statuses" .}}{{end}}
</div>
{{- end}}
{{- with .Latency}}{{template "latency" .}}{{end}}
</div>
{{- end}}
{{- if .Compares}}
{{template "differences" .}}
{{- end}}
<div class="card">
<h3>Requests</h3>
<p class="small muted">Counted since {{template "since" .Since}}.</p>
<dl class="facts">
{{- range .Facts}}
<div><dt>{{.Name}}</dt><dd>{{.Value}}</dd><dd class="small">{{.Note}}</dd></div>
{{- end}}
</dl>
</div>
<div class="card">
<h3>What was not mirrored, by reason</h3>
{{- range .Losses}}{{template "tally" .}}{{end}}
</div>
</section>{{end}}
{{define "rate"}}
<div class="card">
<h3>Answers over time</h3>
<svg class="chart" role="img" width="100%" height="196"><title>Share of answers that are the same, over time</title><desc>{{.Summary}}</desc>
<line x1="0" x2="100%" y1="18" y2="18"/><line x1="0" x2="100%" y1="68" y2="68"/><line x1="0" x2="100%" y1="118" y2="118"/><line x1="0" x2="100%" y1="172" y2="172"/>
<text x="0" y="14">{{.Top}}</text><text x="0" y="64">{{.Middle}}</text><text x="0" y="114">{{.Bottom}}</text><text x="0" y="137">answers</text>
<svg class="plot" x="0" y="18" width="100%" height="100" viewBox="0 0 100 100" preserveAspectRatio="none"><path class="rate" d="{{.Path}}"/></svg>
<svg x="0" y="142" width="100%" height="30">{{range .Bars}}<rect class="volume" x="{{.X}}" y="{{.Y}}" width="{{.Width}}" height="{{.Height}}"/>{{end}}</svg>
{{range .Ticks}}<text x="{{.At}}" y="190" text-anchor="{{.Anchor}}">{{.Label}}</text>{{end}}
</svg>
<p class="small muted apart">The axis begins at {{.Bottom}}. Where the line breaks, no answers were compared.</p>
<details><summary class="small">The same in numbers</summary>
<div class="scroll" tabindex="0" role="group" aria-label="Answers over time, table">
<table class="small"><caption>Answers by interval</caption>
<thead><tr><th scope="col">From</th><th scope="col" class="number">Same</th><th scope="col" class="number">Differ</th><th scope="col" class="number">Share</th></tr></thead>
<tbody>{{range .Rows}}
<tr><th scope="row"><time datetime="{{.At}}">{{.At}}</time></th><td class="number">{{.Same}}</td><td class="number">{{.Differ}}</td><td class="number">{{.Share}}</td></tr>{{end}}
</tbody></table>
</div></details>
</div>
{{- end}}
{{define "latency"}}
<div class="card">
<h3>Latency</h3>
<div class="scroll" tabindex="0" role="group" aria-label="Latency, table">
<table><caption>How long an answer took, to its end</caption>
<thead><tr><th scope="col"><span class="hidden">Quantile</span></th>{{if .Compares}}<th scope="col" class="key-live">Live</th>{{end}}<th scope="col" class="key-shadow">Shadow</th>{{if .Difference}}<th scope="col">Shadow, pair by pair</th>{{end}}</tr></thead>
<tbody>
{{- $compares := .Compares}}{{$difference := .Difference}}
{{- range .Rows}}
<tr><th scope="row">{{.Name}}</th>
{{- if $compares}}<td>{{.Live}}<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="7"/><rect class="live" width="{{.LiveBar}}" height="7"/></svg></td>{{end -}}
<td>{{.Shadow}}<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="7"/><rect class="shadow" width="{{.ShadowBar}}" height="7"/></svg></td>
{{- if $difference}}<td>{{.Difference}}</td>{{end}}</tr>
{{- end}}
</tbody></table>
</div>
{{- with .Spread}}
<ul class="legend" aria-hidden="true">
{{if .Live}}<li><svg width="28" height="8"><path class="live" d="M2 4H26"/></svg><span class="key-live">Live</span></li>
{{end}}<li><svg width="28" height="8"><path class="shadow" d="M2 4H26"/></svg><span class="key-shadow">Shadow</span></li>
<li class="muted">share of answers done within a time</li>
</ul>
<svg class="chart" role="img" width="100%" height="150"><title>Share of answers done within a time</title><desc>{{.Summary}}</desc>
<line x1="0" x2="100%" y1="18" y2="18"/><line x1="0" x2="100%" y1="68" y2="68"/><line x1="0" x2="100%" y1="118" y2="118"/>
{{range .Ticks}}<line x1="{{.At}}" x2="{{.At}}" y1="118" y2="124"/>{{end}}
<text x="0" y="14">100%</text><text x="0" y="64">50%</text>
<svg class="plot" x="0" y="18" width="100%" height="100" viewBox="0 0 100 100" preserveAspectRatio="none">{{if .Live}}<path class="live" d="{{.Live}}"/>{{end}}<path class="shadow" d="{{.Shadow}}"/></svg>
{{range .Ticks}}<text x="{{.At}}" y="138" text-anchor="{{.Anchor}}">{{.Label}}</text>{{end}}
</svg>
<details><summary class="small">The same in numbers</summary>
<div class="scroll" tabindex="0" role="group" aria-label="Share of answers done within a time, table">
<table class="small"><caption>Share of answers done within a time</caption>
<thead><tr><th scope="col">Below</th>{{if .Live}}<th scope="col" class="number key-live">Live</th>{{end}}<th scope="col" class="number key-shadow">Shadow</th></tr></thead>
<tbody>{{$live := .Live}}{{range .Rows}}
<tr><th scope="row">{{.Below}}</th>{{if $live}}<td class="number">{{.Live}}</td>{{end}}<td class="number">{{.Shadow}}</td></tr>{{end}}
</tbody></table>
</div></details>
{{- end}}
</div>
{{- end}}
{{define "statuses"}}
<div class="card">
<h3>Statuses</h3>
<div class="scroll" tabindex="0" role="group" aria-label="Statuses, table">
<table class="matrix"><caption>Pairs of answers by status: live’s down, the shadow’s across. ≠ marks pairs that differ.</caption>
<thead><tr><th scope="col"><span class="key-live">Live</span> \ <span class="key-shadow">Shadow</span></th>{{range .Columns}}<th scope="col" class="number key-shadow">{{.}}</th>{{end}}</tr></thead>
<tbody>{{range .Rows}}
<tr><th scope="row" class="key-live">{{.Live}}</th>{{range .Cells}}<td class="number {{.Class}}">{{.Count}}</td>{{end}}</tr>{{end}}
</tbody></table>
</div>
</div>
{{- end}}
{{define "differences"}}
{{- if .Endpoints}}
<div class="card">
<h3>Endpoints</h3>
<div class="scroll" tabindex="0" role="group" aria-label="Endpoints, table">
<table><caption>Pairs of answers by endpoint, and half of them took at most</caption>
<thead><tr><th scope="col">Endpoint</th><th scope="col">State</th><th scope="col" class="number">Compared</th><th scope="col" class="number">Left out</th><th scope="col" class="number">Real</th><th scope="col" class="number">Undecided</th><th scope="col" class="number">Noise</th><th scope="col" class="number key-live">Live</th><th scope="col" class="number key-shadow">Shadow</th></tr></thead>
<tbody>{{range .Endpoints}}
<tr><th scope="row"><bdi class="value">{{.Name}}</bdi></th><td>{{template "status" .Status}}</td><td class="number">{{.Compared}}</td><td class="number">{{.Left}}</td><td class="number">{{.Real}}</td><td class="number">{{.Undecided}}</td><td class="number">{{.Noise}}</td><td class="number">{{.Live}}</td><td class="number">{{.Shadow}}</td></tr>{{end}}
</tbody></table>
</div>
{{- if .MoreEndpoints}}
<p class="apart">{{.MoreEndpoints}} in <a href="report.json">report.json</a>.</p>
{{- end}}
</div>
{{- end}}
<div class="card">
<h3>Differences</h3>
{{- if .Hint}}
<p class="small muted">{{.Hint}}</p>
{{- end}}
{{- $ignore := .Ignore}}
{{- range .Sorts}}
<h4>{{.Title}}</h4>
{{- if .Rows}}
<p class="small muted apart">{{.Meaning}}</p>
{{- if eq .Title "Noise"}}{{with $ignore}}
<p class="apart">To leave it out, add this to the options of the middleware, beside the rules that are there:</p>
<pre tabindex="0" role="group" aria-label="As YAML">{{.YAML}}</pre>
{{- if .Label}}
<p>Or as a label in Docker Compose, which writes <code>$$</code> for <code>$</code>:</p>
<pre tabindex="0" role="group" aria-label="As a label">{{.Label}}</pre>
{{- end}}
{{- if .Left}}
<p class="small muted">{{.Left}}</p>
{{- end}}{{end}}{{end}}
{{- if .Open}}
{{template "list" .}}
{{- else}}
<details><summary>{{.Count}}</summary>
{{template "list" .}}
</details>
{{- end}}
{{- else}}
<p class="muted">None so far.</p>
{{- end}}
{{- end}}
</div>
{{- end}}
{{define "list"}}<ol>
{{- range .Rows}}
<li class="difference">
<div class="what"><bdi class="value">{{.Endpoint}}</bdi> <code>{{.Key}}</code>{{if .Relation}} <span class="value">{{.Relation}}</span>{{end}} <span>{{.Pairs}}</span></div>
{{- range .Examples}}
<dl class="sides">
<div class="side"><dt class="key-live">Live</dt><dd class="value">{{.Live}}</dd></div>
<div class="side dashed"><dt class="key-shadow">Shadow</dt><dd class="value">{{.Shadow}}</dd></div>
</dl>
<p class="small muted">{{template "time" .At}}: <bdi class="value">{{.Request}}</bdi>, {{.Statuses}}{{if .Index}}, at index {{.Index}}{{end}}{{if .Relation}}, <span class="value">{{.Relation}}</span>{{end}}{{if .ID}}, request <bdi class="value">{{.ID}}</bdi>{{end}}</p>
{{- end}}
<p class="small muted">Latest {{template "time" .Last}}, first {{template "time" .First}}.{{if .Ignore}} To ignore it: <code>{{.Ignore}}</code>{{end}}</p>
</li>
{{- end}}
</ol>
{{- if .More}}
<p class="apart">{{.More}} in <a href="report.json">report.json</a>.</p>
{{- end}}{{end}}
{{define "tally"}}
<div class="tally">
<h4>{{.Title}}</h4>
{{- if .Rows}}
<div class="scroll" tabindex="0" role="group" aria-label="{{.Title}}, table">
<table><caption class="hidden">{{.Title}}</caption>
<thead><tr><th scope="col">Reason</th><th scope="col" class="number">Requests</th><th scope="col">Meaning</th></tr></thead>
<tbody>{{range .Rows}}
<tr><th scope="row" class="reason"><code>{{.Name}}</code></th><td class="number">{{.Count}}</td><td>{{.Meaning}}</td></tr>{{end}}
</tbody></table>
</div>
{{- end}}
{{- if .None}}
<p class="small muted apart">None of: {{.None}}.</p>
{{- end}}
</div>
{{- end}}
`
