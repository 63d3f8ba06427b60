package main

import (
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// colours tell the competitors apart, for colour-blind readers too (Okabe and
// Ito's palette), on the plot's own white ground.
var colours = map[competitor]color.Color{
	passThrough: color.RGBA{R: 0x99, G: 0x99, B: 0x99, A: 0xff},
	own:         color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
	plugin:      color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
	compared:    color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
}

// A panel is one plot: groups of bars, one bar in each for every competitor that
// is compared with no middleware.
type panel struct {
	title, unit string
	groups      []group
}

type group struct {
	label  string
	result caseResult
	metric metric
}

// plot draws processor time and latency with a healthy shadow.
func (r *report) plot(file string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
	cost := panel{title: "Processor time of Traefik per request", unit: "relative to no middleware"}
	latency := panel{title: "Live latency at a fixed rate", unit: "relative to no middleware"}
	for _, c := range r.where(healthy) {
		cost.groups = append(cost.groups, group{c.label, c, processor})
		latency.groups = append(latency.groups, group{c.label + "\np50", c, p50}, group{c.label + "\np99", c, p99})
	}
	const width, height = 10 * vg.Inch, 7.5 * vg.Inch
	canvas := vgsvg.NewWith(vgsvg.UseWH(width, height))
	var rows [][]*plot.Plot
	for _, p := range []panel{cost, latency} {
		drawn, err := p.draw()
		if err != nil {
			return err
		}
		rows = append(rows, []*plot.Plot{drawn})
	}
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	tiles := draw.Tiles{Rows: len(rows), Cols: 1, PadX: 4 * vg.Millimeter, PadY: 8 * vg.Millimeter,
		PadTop: 4 * vg.Millimeter, PadBottom: 4 * vg.Millimeter, PadLeft: 4 * vg.Millimeter, PadRight: 6 * vg.Millimeter}
	for i, row := range plot.Align(rows, tiles, whole) {
		rows[i][0].Draw(row[0])
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (p panel) draw() (*plot.Plot, error) {
	pl := plot.New()
	pl.Title.Text = p.title
	pl.Title.TextStyle.Font.Size = 13
	pl.Title.Padding = 2 * vg.Millimeter
	pl.Y.Label.Text = p.unit
	pl.Y.Min = 0
	pl.Legend.Top = true
	pl.Legend.Left = true
	pl.Legend.Padding = vg.Millimeter

	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{Y: 0xdd}
	pl.Add(grid)

	one := plotter.NewFunction(func(float64) float64 { return 1 })
	one.Color = color.Gray{Y: 0x66}
	one.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	pl.Add(one)

	shown := []competitor{passThrough, own, plugin, compared}
	bar := 8 * vg.Inch / vg.Length(len(p.groups)*(len(shown)+1))
	bar = min(bar, 0.4*vg.Inch)
	highest := 1.0
	var labels []string
	for i, comp := range shown {
		values := make(plotter.Values, len(p.groups))
		for j, g := range p.groups {
			s := g.result.ratio(comp, none, g.metric)
			values[j] = s.median
			highest = max(highest, s.median)
		}
		bars, err := plotter.NewBarChart(values, bar)
		if err != nil {
			return nil, err
		}
		bars.Color = colours[comp]
		bars.LineStyle.Width = 0
		bars.Offset = bar * vg.Length(2*i-len(shown)+1) / 2
		pl.Add(bars)
		pl.Legend.Add(comp.String(), bars)
		if err := p.figures(pl, values, bars.Offset); err != nil {
			return nil, err
		}
	}
	for _, g := range p.groups {
		labels = append(labels, g.label)
	}
	pl.NominalX(labels...)
	// NominalX puts the first and the last group on the edges.
	pl.X.Min, pl.X.Max = -0.6, float64(len(p.groups))-0.4
	pl.Legend.Add("no middleware = 1", one)
	// Room for the legend above the highest bar.
	pl.Y.Max = highest * 1.6
	return pl, nil
}

// figures writes each bar's value above it.
func (p panel) figures(pl *plot.Plot, values plotter.Values, offset vg.Length) error {
	at := plotter.XYLabels{}
	for i, v := range values {
		at.XYs = append(at.XYs, plotter.XY{X: float64(i), Y: v})
		at.Labels = append(at.Labels, fmt.Sprintf("%.2f", v))
	}
	labels, err := plotter.NewLabels(at)
	if err != nil {
		return err
	}
	labels.Offset = vg.Point{X: offset, Y: vg.Points(2)}
	for i := range labels.TextStyle {
		labels.TextStyle[i].XAlign = draw.XCenter
		labels.TextStyle[i].Font.Size = 7
	}
	pl.Add(labels)
	return nil
}
