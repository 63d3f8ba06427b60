package observability

import (
	"bytes"
	"flag"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
)

var (
	screenshots = flag.String("screenshots", "", "write the pictures of the page to this `folder`")
	trafficFor  = flag.Duration("traffic", 15*time.Second, "how long there is traffic before the pictures are taken")
)

// The pictures are for the README: as wide as a desktop's window, and as much of
// the page as can be taken in.
const (
	pictureWidth  = 1200
	pictureHeight = 1200
	pictureLimit  = 300_000 // bytes
)

// TestPicturesOfThePage takes the pictures that the README shows, and writes them
// only where it is told where to.
func TestPicturesOfThePage(t *testing.T) {
	worse := &billing{typical: 16 * time.Millisecond, halfToEven: true, failsAtCreditNotes: true, traces: true}
	better := &billing{typical: 16 * time.Millisecond, halfToEven: true, traces: true}
	s := runScene(t, &billing{typical: 9 * time.Millisecond, traces: true}, worse)
	stop := s.flow(t, 40*time.Millisecond)
	time.Sleep(*trafficFor * 2 / 5)
	s.shadow.Handle(better) // somebody has looked at the report
	time.Sleep(*trafficFor * 3 / 5)
	stop()
	b := openBrowser(t)
	b.resize(pictureWidth, pictureHeight)
	b.open(s.page())
	for scheme, name := range map[string]string{"light": "report.png", "dark": "report-dark.png"} {
		b.prefer(scheme)
		picture := b.picture()
		checkPicture(t, name, scheme, picture)
		if *screenshots != "" {
			if err := os.WriteFile(filepath.Join(*screenshots, name), picture, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	b.checkQuiet()
}

// picture is the upper part of the page, as PNG.
func (b *browser) picture() []byte {
	b.t.Helper()
	return []byte(call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatPng,
		Clip:   &page.Viewport{Width: pictureWidth, Height: pictureHeight, Scale: 1},
	}).Data)
}

func checkPicture(t *testing.T, name, scheme string, picture []byte) {
	t.Helper()
	if len(picture) > pictureLimit {
		t.Errorf("%s has %d bytes, want at most %d", name, len(picture), pictureLimit)
	}
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if size := img.Bounds().Size(); size != image.Pt(pictureWidth, pictureHeight) {
		t.Errorf("%s is %v", name, size)
	}
	colours := map[uint32]int{}
	for x := range pictureWidth {
		for y := range pictureHeight {
			r, g, b, _ := img.At(x, y).RGBA()
			colours[r>>8<<16|g>>8<<8|b>>8]++
		}
	}
	if len(colours) < 50 {
		t.Errorf("%s has %d colours: there is nothing in it", name, len(colours))
	}
	if r, g, b, _ := img.At(1, pictureHeight/2).RGBA(); (r+g+b > 3*0x8000) != (scheme == "light") {
		t.Errorf("%s: the margin is %04x %04x %04x in the scheme %s", name, r, g, b, scheme)
	}
}
