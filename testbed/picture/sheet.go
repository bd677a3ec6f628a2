package picture

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours. inkText and blueText are how an SVG file writes two of them.
var (
	ink        = color.NRGBA{0x1a, 0x1a, 0x1a, 0xff}
	grid       = color.NRGBA{0x80, 0x80, 0x80, 0x40}
	frame      = color.NRGBA{0x80, 0x80, 0x80, 0xa0}
	band       = color.NRGBA{0x80, 0x80, 0x80, 0x48}
	grey       = color.NRGBA{0x80, 0x80, 0x80, 0xff}
	blue       = color.NRGBA{0x00, 0x72, 0xb2, 0xff}
	orange     = color.NRGBA{0xe6, 0x9f, 0x00, 0xff}
	vermillion = color.NRGBA{0xd5, 0x5e, 0x00, 0xff}
)

const inkText, blueText = "#1A1A1A", "#0072B2"

// A Picture is one that is drawn.
type Picture struct {
	Name  string // of its files, without an ending
	Title string // what it shows, for those who cannot see it
	// Caption says how to read it.
	Caption  string
	SVG, PNG []byte

	w, h vg.Length
}

// Write writes both files of a picture into a directory, which is made if it
// is not there, and returns their paths.
func (p Picture) Write(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	var paths []string
	for _, f := range []struct {
		ending string
		data   []byte
	}{{".svg", p.SVG}, {".png", p.PNG}} {
		path := filepath.Join(dir, p.Name+f.ending)
		if err := os.WriteFile(path, f.data, 0o644); err != nil {
			return paths, fmt.Errorf("picture: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Inline is the picture as an element of an HTML page: without a background, in
// the page's colour of text, and blue as its style sheet says in --blue.
func (p Picture) Inline() string {
	_, body, _ := strings.Cut(string(p.SVG), backdrop)
	return fmt.Sprintf("<svg role=\"img\" viewBox=\"0 0 %g %g\">\n<title>%s</title>\n", p.w.Points(), p.h.Points(), html.EscapeString(p.Title)) +
		strings.NewReplacer(inkText, "currentColor", blueText, "var(--blue,"+blueText+")").Replace(body)
}

const backdrop = "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n"

// pixels is the resolution of the PNG files, in dots an inch; a point is 1/72.
const pixels = 144

// render draws a picture of w by h points in both formats.
func render(p Picture, w, h vg.Length, paint func(sheet)) (Picture, error) {
	p.Title, p.w, p.h = printable(p.Title), w, h
	vector := &measuring{Canvas: vgsvg.New(w, h)}
	paint(newSheet(draw.New(vector)))
	var b bytes.Buffer
	if _, err := vector.WriteTo(&b); err != nil {
		return p, fmt.Errorf("picture: %s: %w", p.Name, err)
	}
	_, body, ok := strings.Cut(b.String(), "xlink\">\n")
	if !ok {
		return p, fmt.Errorf("picture: %s: the head of the SVG is not the one that is known", p.Name)
	}
	p.SVG = []byte(fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%[1]g\" height=\"%[2]g\" viewBox=\"0 0 %[1]g %[2]g\">\n<title>%[3]s</title>\n%[4]s",
		w.Points(), h.Points(), html.EscapeString(p.Title), backdrop) +
		vector.fit(strings.ReplaceAll(body, "font-family:Liberation Sans;font-variant:none;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))

	raster := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(pixels), vgimg.UseBackgroundColor(color.White))
	paint(newSheet(draw.New(raster)))
	b.Reset()
	if _, err := (vgimg.PngCanvas{Canvas: raster}).WriteTo(&b); err != nil {
		return p, fmt.Errorf("picture: %s: %w", p.Name, err)
	}
	p.PNG = append([]byte(nil), b.Bytes()...)
	return p, nil
}

// measuring notes how long each text is, in the order of drawing. Another font
// than the one that was measured may be what the reader has: texts are fitted
// into the same length, so that they keep clear of one another.
type measuring struct {
	*vgsvg.Canvas
	widths []vg.Length
}

// FillString implements vg.Canvas.
func (m *measuring) FillString(f font.Face, at vg.Point, words string) {
	m.widths = append(m.widths, f.Width(words))
	m.Canvas.FillString(f, at, words)
}

// fit writes the length of each text into its element.
func (m *measuring) fit(svg string) string {
	var b strings.Builder
	parts := strings.Split(svg, "<text ")
	b.WriteString(parts[0])
	for i, part := range parts[1:] {
		fmt.Fprintf(&b, "<text textLength=\"%.5g\" lengthAdjust=\"spacingAndGlyphs\" %s", m.widths[i].Points(), part)
	}
	return b.String()
}

// A sheet is what is drawn on. Lengths are in points, y from the bottom.
type sheet struct {
	draw.Canvas
	handler text.Handler
}

func newSheet(c draw.Canvas) sheet {
	return sheet{Canvas: c, handler: text.Plain{Fonts: font.NewCache(liberation.Collection())}}
}

// The sizes of text.
const (
	small  = 9
	normal = 10.5
	large  = 13
)

type style struct {
	size   vg.Length
	color  color.Color
	bold   bool
	x, y   float64 // alignment: 0 begins at the point, -0.5 is centred, -1 ends there
	rotate float64
}

func (s sheet) style(st style) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: st.size}
	if st.bold {
		f.Weight = 3 // bold, in golang.org/x/image/font
	}
	if st.color == nil {
		st.color = ink
	}
	return text.Style{
		Color: st.color, Font: f, Rotation: st.rotate,
		XAlign: text.XAlignment(st.x), YAlign: text.YAlignment(st.y), Handler: s.handler,
	}
}

func (s sheet) write(x, y vg.Length, st style, words string) {
	if words = clean(words); words != "" {
		s.FillText(s.style(st), vg.Point{X: x, Y: y}, words)
	}
}

// width is how long words are.
func (s sheet) width(st style, words string) vg.Length { return s.style(st).Width(clean(words)) }

// clean takes out what cannot be drawn on one line, and cuts what is too long.
func clean(words string) string {
	const most = 120
	out := []rune(printable(words))
	if len(out) > most {
		out = append(out[:most-1], '…')
	}
	return string(out)
}

// printable puts spaces for what no text may hold.
func printable(words string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, words)
}

func (s sheet) box(x0, y0, x1, y1 vg.Length, c color.Color) {
	s.FillPolygon(c, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

func (s sheet) line(x0, y0, x1, y1 vg.Length, c color.Color, width vg.Length, dashes ...vg.Length) {
	s.StrokeLine2(draw.LineStyle{Color: c, Width: width, Dashes: dashes}, x0, y0, x1, y1)
}

func (s sheet) dot(x, y vg.Length, c color.Color, r vg.Length) {
	s.DrawGlyph(draw.GlyphStyle{Color: c, Radius: r, Shape: draw.CircleGlyph{}}, vg.Point{X: x, Y: y})
}

func (s sheet) ring(x, y vg.Length, c color.Color, r vg.Length) {
	s.SetLineStyle(draw.LineStyle{Color: c, Width: 0.9})
	var p vg.Path
	p.Move(vg.Point{X: x + r, Y: y})
	p.Arc(vg.Point{X: x, Y: y}, r, 0, 6.283185307179586)
	p.Close()
	s.Stroke(p)
}

func (s sheet) cross(x, y vg.Length, c color.Color, r vg.Length) {
	s.line(x-r, y-r, x+r, y+r, c, 1.7)
	s.line(x-r, y+r, x+r, y-r, c, 1.7)
}
