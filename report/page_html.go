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
<title>{{.Title}}</title>
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
a:focus-visible, .scroll:focus-visible, pre:focus-visible {
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
.overview { margin-top: .5rem; }
.overview li { display: grid; grid-template-columns: 9rem minmax(9rem, 16rem) 1fr 14rem; gap: .1rem 1rem; padding: .5rem 0; border-top: 1px solid var(--rule); align-items: center; }
.apart-below { margin-bottom: 1rem; }
.mirror > .card { margin-bottom: 1rem; }
.name { font-size: 1rem; font-weight: 650; }
.name .muted { font-weight: 400; }
.verdict { font-size: clamp(1.25rem, 1.1rem + .8vw, 1.45rem); font-weight: 650; line-height: 1.25; letter-spacing: -.01em; margin: .35rem 0 .4rem; }
.next { margin-bottom: .25rem; }
.reasons { margin: .25rem 0; padding-left: 1.1rem; list-style: disc; }
.verdict::first-letter { text-transform: uppercase; }
time { white-space: nowrap; }
.status { display: inline-flex; gap: .45rem; align-items: center; font-weight: 650; white-space: nowrap; }
.status svg { width: 1.35rem; height: 1.35rem; flex: none; padding: .2rem; border-radius: 50%; background: currentColor; }
.status path { fill: none; stroke: var(--card); stroke-width: 2.4; stroke-linecap: round; stroke-linejoin: round; }
.status.bad svg { border-radius: 3px; }
.status.warn svg { border-radius: 30% 30% 50% 50%; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .calm { color: var(--muted); }
.banner { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; justify-content: space-between; }
.mistakes { display: grid; gap: .5rem; margin: .35rem 0; border-left: 4px solid var(--bad); padding-left: .6rem; overflow-wrap: anywhere; }
.warning { border-left: 4px solid var(--warn); padding-left: .6rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem; margin-bottom: 1rem; align-items: stretch; }
.column { display: flex; flex-direction: column; gap: 1rem; min-width: 0; }
.column > .card:last-child { flex: 1; }
.wide { display: grid; grid-template-columns: minmax(0, 11fr) minmax(0, 10fr); gap: 1rem; margin-bottom: 1rem; align-items: start; }
.wide > .card:only-child { grid-column: 1 / -1; }
.plotted { display: grid; grid-template-columns: 52px minmax(0, 1fr); margin-top: .5rem; }
.chart, .axis { display: block; overflow: visible; }
.chart text, .axis text { font-size: 12px; fill: var(--muted); }
.chart line { stroke: var(--rule); }
.chart .foot { stroke: var(--muted); }
.plot, .labels { overflow: visible; }
.plot path { fill: none; stroke-width: 2.25px; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round; }
.live { stroke: var(--live); }
.shadow { stroke: var(--shadow); stroke-dasharray: 6 5; }
.real { fill: var(--bad); }
.undecided { fill: var(--card); stroke: var(--warn); stroke-width: 2px; }
.volume { fill: var(--muted); opacity: .55; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.25rem; font-size: .87rem; margin-top: .75rem; }
.legend li { display: flex; gap: .4rem; align-items: center; }
.legend path { fill: none; stroke-width: 2.5; stroke-linecap: round; }
.key-live { color: var(--live); font-weight: 650; } .key-shadow { color: var(--shadow); font-weight: 650; }
.slower { color: var(--bad); font-weight: 650; }
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
.wide th, .wide td { padding-right: .5rem; }
.wide td.number { white-space: normal; }
.wide td.number span { white-space: nowrap; }
.wide tbody th { overflow-wrap: anywhere; min-width: 5.5rem; }
.difference pre { padding: .3rem .6rem; margin: .2rem 0 .5rem; }
.reason { white-space: nowrap; }
.matrix { width: auto; }
.matrix th, .matrix td { padding: .35rem .75rem; }
.matrix .same { background: var(--soft); font-weight: 600; }
.matrix .other { color: var(--bad); font-weight: 650; }
.matrix .zero { color: var(--muted); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .7rem 1.25rem; margin-top: .6rem; }
.facts dt { font-size: .87rem; color: var(--muted); }
.facts dd { font-size: 1.08rem; font-weight: 600; line-height: 1.3; }
.facts dd.small { font-size: .8rem; font-weight: 400; color: var(--muted); }
.difference { border-top: 1px solid var(--rule); padding: .65rem 0; }
.sort + .sort { border-top: 1px solid var(--rule); margin-top: .75rem; }
.what { display: flex; flex-wrap: wrap; gap: .1rem 1rem; justify-content: space-between; align-items: baseline; }
.what code { font-size: .93em; font-weight: 650; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr)); gap: .35rem 1rem; margin: .35rem 0; }
.side { border-left: 3px solid var(--live); padding-left: .6rem; }
.side.dashed { border-left: 3px dashed var(--shadow); }
.side dt { font-size: .8rem; }
.side dd, .values td { white-space: pre-wrap; }
.values td, .values th { min-width: 8rem; overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: 4px; padding: .6rem .75rem; overflow-x: auto; margin: .35rem 0 .75rem; user-select: all; }
.tally { margin-top: .75rem; }
.tally:first-of-type { margin-top: .25rem; }
@media (max-width: 60rem) {
  .wide { grid-template-columns: minmax(0, 1fr); }
}
@media (max-width: 40rem) {
  header ul { margin-left: 0; }
  .overview li { grid-template-columns: 1fr; }
  .matrix th, .matrix td { padding: .35rem .4rem; }
  th, td { padding-right: .5rem; }
}
@media (forced-colors: active) {
  .status svg { background: CanvasText; forced-color-adjust: none; }
  .chart path, .legend path { stroke: CanvasText; }
  .real, .volume { fill: CanvasText; }
}
@media print {
  body { max-width: none; padding: 0; } .card { break-inside: avoid; }
}
`

const pageBody = `</head>
<body>
{{- define "time"}}<time datetime="{{.At}}" title="{{.At}}">{{.Ago}}</time>{{end}}
{{- define "since"}}<time datetime="{{.At}}">{{.At}}</time> ({{.Ago}}){{end}}
{{- define "stamp"}}<time datetime="{{.At}}">{{.At}}</time>{{end}}
{{- define "status"}}<span class="status {{.Class}}"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="{{.Shape}}"/></svg>{{.Word}}</span>{{end}}
{{- define "fact"}}<div><dt>{{.Name}}</dt><dd class="{{.Class}}">{{.Value}}</dd>{{if .Note}}<dd class="small"><bdi>{{.Note}}</bdi></dd>{{end}}</div>{{end}}
<a class="skip" href="#main">Skip to the report</a>
<header>
<h1>{{if .Home}}<a href="{{.Home}}">Mirror report</a>{{else}}Mirror report{{end}}</h1>
<p class="muted">as of {{template "stamp" .Generated}}{{if .Instance}}, for this Traefik only: <bdi>{{.Instance}}</bdi>, since {{template "stamp" .Since}}{{end}}</p>
<ul>
{{if .Refresh}}<li>Loads anew every {{.Refresh}} s: <a href="{{.Pause}}">pause</a></li>
{{else}}<li>Refresh is paused: <a href="{{.Again}}">load anew</a>, <a href="{{.Pause}}">resume</a></li>
{{end}}<li><a href="report.json">report.json</a></li>
<li><a href="metrics">metrics</a></li>
</ul>
</header>
<main id="main">
{{- if .Unknown}}
<section class="card apart-below" aria-labelledby="unknown">
<h2 class="name" id="unknown">There is no such middleware or endpoint</h2>
<p>It is not, or no longer, among those that this Traefik mirrors. <a href="{{.Home}}">See what there is.</a></p>
</section>
{{- end}}
{{- if .None}}
<section class="card" aria-labelledby="none">
<h2 class="name" id="none">All mirrors</h2>
<p class="verdict">No mirror yet</p>
<p>This Traefik has no middleware that mirrors. One appears here as soon as a router names it; it needs the option <code>url</code>, the shadow.</p>
</section>
{{- end}}
{{- if .Mirrors}}
<section class="card" aria-labelledby="overview">
<h2 class="name" id="overview">All mirrors, the worst first</h2>
<ul class="overview">
{{- range .Mirrors}}
<li>{{template "status" .Status}} <a href="{{.Link}}"><bdi>{{.Name}}</bdi></a> <span>{{.Headline}}</span> <span class="muted">{{.Lost}}</span></li>
{{- end}}
</ul>
{{- if .More}}
<p class="apart">{{.More}} in <a href="report.json">report.json</a>.</p>
{{- end}}
</section>
{{- end}}
{{- with .Mirror}}
{{template "mirror" .}}
{{- end}}
</main>
</body>
</html>
{{define "mirror"}}<section class="mirror" aria-labelledby="name">
<div class="card">
<div class="banner">
<h2 class="name" id="name"><bdi>{{.Name}}</bdi>{{if .Shadow}} <span class="muted">mirrors {{.Share}} to <bdi>{{.Shadow}}</bdi></span>{{end}}</h2>
{{template "status" .Status}}
</div>
<p class="verdict">{{.Headline}}</p>
<p class="next"><strong>Next:</strong> {{.Next}}{{if .Option}} <code>{{.Option}}</code>{{end}}</p>
{{- if .Mistakes}}
<ul class="mistakes">
{{- range .Mistakes}}
<li><bdi class="value">{{.}}</bdi></li>
{{- end}}
</ul>
{{- end}}
{{- if .Reasons}}
<ul class="reasons">
{{- range .Reasons}}
<li><bdi>{{.}}</bdi></li>
{{- end}}
</ul>
{{- end}}
{{- range .Warnings}}
<p class="warning"><strong>Note:</strong> {{.}}</p>
{{- end}}
<dl class="facts">
{{- range .Facts}}
{{template "fact" .}}
{{- end}}
</dl>
</div>
{{- if or .Endpoints .Sorts}}
<div class="wide">
{{- if .Sorts}}
<div class="card" id="differences">
<h3>Differences{{if .Endpoint}} of <bdi class="value">{{.Endpoint}}</bdi>{{end}}</h3>
{{- if .Endpoint}}
<p class="small"><a href="{{.AllEndpoints}}">Those of all endpoints</a></p>
{{- end}}
{{- range .Sorts}}{{template "sort" .}}{{end}}
<p class="small muted apart">{{.Hint}} All examples, for scripts: <a href="{{.Examples}}">mismatches.ndjson</a></p>
</div>
{{- end}}
{{- if .Endpoints}}{{template "endpoints" .}}{{end}}
</div>
{{- end}}
{{- if or .Agreement .Latency .Statuses}}
<div class="grid">
{{- if or .Agreement .Statuses}}
<div class="column">
{{- if .Agreement}}{{template "agreement" .}}{{end}}
{{- with .Statuses}}{{template "statuses" .}}{{end}}
</div>
{{- end}}
{{- with .Latency}}{{template "latency" .}}{{end}}
</div>
{{- end}}
<div class="card">
<h3>Requests</h3>
<p class="small muted">Counted since {{template "since" .Since}}.</p>
<dl class="facts">
{{- range .Counts}}
{{template "fact" .}}
{{- end}}
</dl>
{{- range .Losses}}{{template "tally" .}}{{end}}
</div>
</section>{{end}}
{{define "unfold"}}<a href="{{.Link}}">{{if .Open}}Hide{{else}}Show{{end}}</a>{{end}}
{{define "agreement"}}
<div class="card">
<h3>Agreement over time</h3>
{{- with .Agreement}}
<ul class="legend" aria-hidden="true">
{{if .Real}}<li><svg width="14" height="14"><rect class="real" width="14" height="14"/></svg>really differ</li>
{{end}}{{if .Undecided}}<li><svg width="14" height="14"><rect class="undecided" x="1" y="1" width="12" height="12"/></svg>undecided</li>
{{end}}<li><svg width="14" height="14"><rect class="volume" width="14" height="14"/></svg>pairs compared</li>
</ul>
<div class="plotted">
<svg class="axis" width="52" height="190" aria-hidden="true"><text x="46" y="14" text-anchor="end">{{.Top}}</text><text x="46" y="64" text-anchor="end">{{.Middle}}</text><text x="46" y="114" text-anchor="end">0%</text><text x="46" y="160" text-anchor="end">pairs</text></svg>
<svg class="chart" role="img" width="100%" height="190"><title>Share of pairs that differ, over time</title><desc>{{.Summary}}</desc>
<line x1="0" x2="100%" y1="10" y2="10"/><line x1="0" x2="100%" y1="60" y2="60"/><line class="foot" x1="0" x2="100%" y1="110" y2="110"/><line class="foot" x1="0" x2="100%" y1="164" y2="164"/>
<svg x="0" y="10" width="100%" height="100">{{range .Real}}<rect class="real" x="{{.X}}" y="{{.Y}}" width="{{.Width}}" height="{{.Height}}"/>{{end}}{{range .Undecided}}<rect class="undecided" x="{{.X}}" y="{{.Y}}" width="{{.Width}}" height="{{.Height}}"/>{{end}}</svg>
<svg x="0" y="128" width="100%" height="36">{{range .Volume}}<rect class="volume" x="{{.X}}" y="{{.Y}}" width="{{.Width}}" height="{{.Height}}"/>{{end}}</svg>
{{range .Ticks}}<text x="{{.At}}" y="184" text-anchor="{{.Anchor}}">{{.Label}}</text>{{end}}
</svg>
</div>
{{- end}}
<p class="small apart" id="{{.AgreementRows.ID}}">The same in numbers: {{template "unfold" .AgreementRows}}</p>
{{- if .AgreementRows.Open}}
<div class="scroll" tabindex="0" role="group" aria-label="Agreement over time, table">
<table class="small"><caption>Pairs by interval</caption>
<thead><tr><th scope="col">From</th><th scope="col" class="number">Compared</th><th scope="col" class="number">Real</th><th scope="col" class="number">Undecided</th><th scope="col" class="number">Agree</th></tr></thead>
<tbody>{{range .Agreement.Rows}}
<tr><th scope="row"><time datetime="{{.At}}">{{.At}}</time></th><td class="number">{{.Compared}}</td><td class="number">{{.Real}}</td><td class="number">{{.Undecided}}</td><td class="number">{{.Share}}</td></tr>{{end}}
</tbody></table>
</div>
{{- end}}
</div>
{{- end}}
{{define "latency"}}
<div class="card">
<h3>Latency</h3>
<div class="scroll" tabindex="0" role="group" aria-label="Latency, table">
<table><caption>How long an answer took, to its end{{if .Difference}}; whether the shadow is slower is asked pair by pair{{end}}</caption>
<thead><tr><th scope="col"><span class="hidden">Quantile</span></th>{{if .Compares}}<th scope="col" class="key-live">Live</th>{{end}}<th scope="col" class="key-shadow">Shadow</th>{{if .Difference}}<th scope="col">Shadow, pair by pair</th>{{end}}</tr></thead>
<tbody>
{{- $compares := .Compares}}{{$difference := .Difference}}
{{- range .Rows}}
<tr><th scope="row">{{.Name}}</th>{{if $compares}}<td>{{.Live}}</td>{{end}}<td>{{.Shadow}}</td>{{if $difference}}<td class="{{.Class}}">{{.Difference}}</td>{{end}}</tr>
{{- end}}
</tbody></table>
</div>
{{- with .Tail}}
<ul class="legend" aria-hidden="true">
{{if .Live}}<li><svg width="28" height="8"><path class="live" d="M2 4H26"/></svg><span class="key-live">Live</span></li>
{{end}}<li><svg width="28" height="8"><path class="shadow" d="M2 4H26"/></svg><span class="key-shadow">Shadow</span></li>
<li class="muted">share that took longer than</li>
</ul>
<div class="plotted">
<svg class="axis" width="52" height="160" aria-hidden="true"><svg y="14" width="52" height="120" class="labels">{{range .Shares}}<text x="46" y="{{.At}}" text-anchor="end">{{.Label}}</text>{{end}}</svg></svg>
<svg class="chart" role="img" width="100%" height="160"><title>Share of answers that took longer than a time</title><desc>{{.Summary}}</desc>
<svg y="10" width="100%" height="120" class="labels">{{range .Shares}}<line x1="0" x2="100%" y1="{{.At}}" y2="{{.At}}"/>{{end}}{{range .Ticks}}<line x1="{{.At}}" x2="{{.At}}" y1="0" y2="100%"/>{{end}}</svg>
<svg class="plot" x="0" y="10" width="100%" height="120" viewBox="0 0 100 100" preserveAspectRatio="none">{{if .Live}}<path class="live" d="{{.Live}}"/>{{end}}<path class="shadow" d="{{.Shadow}}"/></svg>
{{range .Ticks}}<text x="{{.At}}" y="150" text-anchor="{{.Anchor}}">{{.Label}}</text>{{end}}
</svg>
</div>
{{- end}}
{{- if .Tail}}
<p class="small apart" id="{{.TailRows.ID}}">The same in numbers: {{template "unfold" .TailRows}}</p>
{{- if .TailRows.Open}}
<div class="scroll" tabindex="0" role="group" aria-label="Share of answers that took longer than a time, table">
<table class="small"><caption>Share of answers that took longer</caption>
<thead><tr><th scope="col">Than</th>{{if .Tail.Live}}<th scope="col" class="number key-live">Live</th>{{end}}<th scope="col" class="number key-shadow">Shadow</th></tr></thead>
<tbody>{{$live := .Tail.Live}}{{range .Tail.Rows}}
<tr><th scope="row">{{.Beyond}}</th>{{if $live}}<td class="number">{{.Live}}</td>{{end}}<td class="number">{{.Shadow}}</td></tr>{{end}}
</tbody></table>
</div>
{{- end}}
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
{{define "endpoints"}}
<div class="card">
<h3>Endpoints</h3>
<div class="scroll" tabindex="0" role="group" aria-label="Endpoints, table">
<table class="small"><caption>The worst first. Compared: pairs, of all requests. p50: half took at most this, at <span class="key-live">live</span> and at the <span class="key-shadow">shadow</span>.</caption>
<thead><tr><th scope="col">Endpoint</th><th scope="col">State</th><th scope="col" class="number">Compared</th><th scope="col" class="number">Real</th><th scope="col" class="number">Undecided</th><th scope="col" class="number">p50</th></tr></thead>
<tbody>{{range .Endpoints}}
<tr><th scope="row"><a href="{{.Link}}"{{if .Current}} aria-current="true"{{end}}><bdi class="value">{{.Name}}</bdi></a></th><td>{{template "status" .Status}}</td><td class="number">{{.Compared}} of&#160;{{.Requests}}{{if .Left}}<br/><span class="muted">{{.Left}}</span>{{end}}</td><td class="number">{{if .RealLink}}<a href="{{.RealLink}}">{{.Real}}</a>{{else}}{{.Real}}{{end}}</td><td class="number">{{.Undecided}}</td><td class="number">{{if .Live}}<span class="key-live">{{.Live}}</span><br/><span class="key-shadow">{{.Shadow}}</span>{{end}}</td></tr>{{end}}
</tbody></table>
</div>
{{- if .MoreEndpoints}}
<p class="apart">{{.MoreEndpoints}} in <a href="report.json">report.json</a>.</p>
{{- end}}
</div>
{{- end}}
{{define "sort"}}
<div class="sort"{{if not .Always}} id="{{.Unfolding.ID}}"{{end}}>
<h4>{{.Title}}: {{.Count}}{{if not .Always}} <span class="small">{{template "unfold" .Unfolding}}<span class="hidden"> {{.Title}}</span></span>{{end}}</h4>
{{- if or .Always .Unfolding.Open}}
<p class="small muted">{{.Meaning}}</p>
{{template "list" .}}
{{- with .Ignore}}
<p class="apart">To leave these out, add this to the options of the middleware, beside the rules that are there:</p>
<pre tabindex="0" role="group" aria-label="As YAML">{{.YAML}}</pre>
{{- if .Label}}
<p>Or as a label in Docker Compose, which writes <code>$$</code> for <code>$</code>:</p>
<pre tabindex="0" role="group" aria-label="As a label">{{.Label}}</pre>
{{- end}}
{{- if .Left}}
<p class="small muted">{{.Left}}</p>
{{- end}}
{{- if .More}}
<p class="small muted">{{.More}} in <a href="report.json">report.json</a>.</p>
{{- end}}{{end}}
{{- end}}
</div>
{{- end}}
{{define "list"}}<ol>
{{- range .Rows}}
<li class="difference">
<div class="what"><a href="{{.Link}}"><bdi class="value">{{.Endpoint}}</bdi></a> <code>{{.Key}}</code>{{if .Relation}} <strong class="value">{{.Relation}}</strong>{{end}} <span>{{.Pairs}}</span></div>
{{- range .Examples}}
<dl class="sides">
<div class="side"><dt class="key-live">Live</dt><dd class="value">{{.Live}}</dd></div>
<div class="side dashed"><dt class="key-shadow">Shadow</dt><dd class="value">{{.Shadow}}</dd></div>
</dl>
<p class="small muted">{{template "time" .At}}: <bdi class="value">{{.Request}}</bdi>{{if .Query}} with <bdi class="value">{{.Query}}</bdi>{{end}}, {{.Statuses}}{{if .Index}}, at index {{.Index}}{{end}}{{if .Relation}}, <span class="value">{{.Relation}}</span>{{end}}{{if .ID}}, request <bdi class="value">{{.ID}}</bdi>{{end}}</p>
{{- if .Curl}}
<pre tabindex="0" role="group" aria-label="To ask again">{{.Curl}}</pre>
{{- end}}
{{- end}}
<p class="small muted">Latest {{template "time" .Last}}, first {{template "time" .First}}.{{if .Ignore}} To leave it out: <code>{{.Ignore}}</code>{{end}}</p>
</li>
{{- end}}
</ol>
{{- if .More}}
<p class="apart">{{.More}} in <a href="report.json">report.json</a>.</p>
{{- end}}{{end}}
{{define "tally"}}
<div class="tally">
<h4>{{.Title}}</h4>
<div class="scroll" tabindex="0" role="group" aria-label="{{.Title}}, table">
<table><caption class="hidden">{{.Title}}</caption>
<thead><tr><th scope="col">Reason</th><th scope="col" class="number">Requests</th><th scope="col">Meaning</th></tr></thead>
<tbody>{{range .Rows}}
<tr><th scope="row" class="reason"><code>{{.Name}}</code></th><td class="number">{{.Count}}</td><td>{{.Meaning}}</td></tr>{{end}}
</tbody></table>
</div>
</div>
{{- end}}
`
