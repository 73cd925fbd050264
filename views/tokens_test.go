package views

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nocturne/views/ui"
)

type rgb [3]float64 // linear, 0 to 1

var declared = regexp.MustCompile(`--([a-z0-9-]+):\s*(#[0-9a-fA-F]{6});`)

// tokens reads the colours out of the style sheet itself: dark first, then
// what the light theme changes.
func tokens(t *testing.T) (dark, light map[string]rgb) {
	t.Helper()
	b, err := os.ReadFile("static/css/tokens.css")
	if err != nil {
		t.Fatal(err)
	}
	first, second, ok := strings.Cut(string(b), `:root[data-theme="light"]`)
	if !ok {
		t.Fatal("tokens.css has no light theme")
	}
	dark, light = map[string]rgb{}, map[string]rgb{}
	for _, m := range declared.FindAllStringSubmatch(first, -1) {
		dark[m[1]], light[m[1]] = parse(t, m[2]), parse(t, m[2])
	}
	for _, m := range declared.FindAllStringSubmatch(second, -1) {
		light[m[1]] = parse(t, m[2])
	}
	return dark, light
}

func parse(t *testing.T, hex string) rgb {
	t.Helper()
	n, err := strconv.ParseUint(hex[1:], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	var c rgb
	for i := range 3 {
		v := float64(n>>(16-8*i)&0xff) / 255
		if v <= 0.04045 {
			c[i] = v / 12.92
		} else {
			c[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return c
}

func luminance(c rgb) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }

// contrast is WCAG 2.2's contrast ratio.
func contrast(a, b rgb) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
var sight = map[string][9]float64{
	"normal": {1, 0, 0, 0, 1, 0, 0, 0, 1},
	"protan": {0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998},
	"deutan": {0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881},
	"tritan": {1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900},
}

func seenWith(m [9]float64, c rgb) rgb {
	var out rgb
	for i := range 3 {
		out[i] = min(1, max(0, m[3*i]*c[0]+m[3*i+1]*c[1]+m[3*i+2]*c[2]))
	}
	return out
}

func oklab(c rgb) [3]float64 {
	l := math.Cbrt(0.4122214708*c[0] + 0.5363325363*c[1] + 0.0514459929*c[2])
	m := math.Cbrt(0.2119034982*c[0] + 0.6806995451*c[1] + 0.1073969566*c[2])
	s := math.Cbrt(0.0883024619*c[0] + 0.2817188376*c[1] + 0.6299787005*c[2])
	return [3]float64{
		0.2104542553*l + 0.7936177850*m - 0.0040720468*s,
		1.9779984951*l - 2.4285922050*m + 0.4505937099*s,
		0.0259040371*l + 0.7827717662*m - 0.8086757660*s,
	}
}

func distance(a, b rgb) float64 {
	x, y := oklab(a), oklab(b)
	return math.Sqrt((x[0]-y[0])*(x[0]-y[0]) + (x[1]-y[1])*(x[1]-y[1]) + (x[2]-y[2])*(x[2]-y[2]))
}

// least is the smallest distance between any two of the colours, over all
// kinds of sight.
func least(c map[string]rgb, names []string) (d float64, pair string) {
	d = math.Inf(1)
	for kind, m := range sight {
		for i, a := range names {
			for _, b := range names[i+1:] {
				if x := distance(seenWith(m, c[a]), seenWith(m, c[b])); x < d {
					d, pair = x, kind+": "+a+"/"+b
				}
			}
		}
	}
	return d, pair
}

func stateNames() []string {
	var ns []string
	for _, s := range ui.States() {
		ns = append(ns, string(s))
	}
	return ns
}

func TestStatesAreToldApart(t *testing.T) {
	dark, _ := tokens(t)
	d, pair := least(dark, stateNames())
	t.Logf("least OKLab distance %.3f (%s)", d, pair)
	if d < 0.14 {
		t.Errorf("%s are only %.3f apart, want 0.14", pair, d)
	}
	traffic := map[string]rgb{"red": parse(t, "#f44336"), "green": parse(t, "#4caf50"), "amber": parse(t, "#ffc107")}
	if d, _ := least(traffic, []string{"red", "green", "amber"}); d >= 0.14 {
		t.Errorf("a traffic light passes with %.3f: the measure is wrong", d)
	}
}

func TestContrast(t *testing.T) {
	dark, light := tokens(t)
	text := func(theme map[string]rgb, which, ink, on string, want float64) {
		t.Helper()
		if theme[ink] == (rgb{}) || theme[on] == (rgb{}) {
			t.Fatalf("%s: %s or %s is not declared", which, ink, on)
		}
		if got := contrast(theme[ink], theme[on]); got < want {
			t.Errorf("%s: %s on %s is %.2f:1, want %.1f", which, ink, on, got, want)
		}
	}
	for which, theme := range map[string]map[string]rgb{"dark": dark, "light": light} {
		for _, ground := range []string{"bg", "surface", "raised"} {
			text(theme, which, "ink", ground, 7)
			text(theme, which, "ink-2", ground, 4.5)
			text(theme, which, "link", ground, 4.5)
		}
		text(theme, which, "ink-3", "bg", 4.5)
		text(theme, which, "ink-3", "surface", 4.5)
		text(theme, which, "ink-2", "ok-body", 4.5)
		for _, ground := range []string{"bg", "surface", "raised"} {
			text(theme, which, "focus", ground, 3)
			text(theme, which, "line-strong", ground, 3)
		}
		for i := range 6 {
			text(theme, which, "series-"+strconv.Itoa(i+1), "surface", 3)
		}
		for _, s := range stateNames() {
			text(theme, which, "on-fill", s, 4.5)
		}
	}
	for _, s := range stateNames() { // counters are written in these colours
		text(dark, "dark", s, "surface", 4.5)
	}
}
