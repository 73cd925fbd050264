package inventory

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ExportYAML writes the whole graph in the format that the package comment
// shows, in a fixed order. What discovery said is kept apart from what people
// said, so that importing the file pins nothing. Ended relations, bindings and
// times are not exported.
func (g *Graph) ExportYAML(w io.Writer) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(g.document()); err != nil {
		return fmt.Errorf("export the inventory: %w", err)
	}
	return enc.Close()
}

func (g *Graph) document() fileDoc {
	g.mu.RLock()
	defer g.mu.RUnlock()
	ex := exporter{g: g, nested: map[string]bool{}, told: map[relKey]bool{}}
	var doc fileDoc
	for _, id := range g.kinds["site"] {
		doc.Sites = append(doc.Sites, ex.site(id))
	}
	for _, id := range g.kinds["application"] {
		doc.Applications = append(doc.Applications, ex.application(id))
	}
	for _, kind := range g.kindsOf("") {
		for _, id := range g.kinds[kind] {
			if it, ok := ex.item(id); ok {
				doc.Items = append(doc.Items, it)
			}
			doc.Relations = append(doc.Relations, ex.relations(id)...)
		}
	}
	return doc
}

type relKey struct{ from, typ, to, source string }

type exporter struct {
	g      *Graph
	nested map[string]bool // items written with their name, title, units and row
	told   map[relKey]bool // relations written by nesting
}

// children are the items of a kind whose imported relation typ leads to id.
func (ex *exporter) children(id, kind, typ string) []string {
	var out []string
	for from := range ex.g.into[id] {
		if kind != "" && kindOf(from) != kind {
			continue
		}
		for _, r := range ex.g.nodes[from].rec.Relations {
			if r.To == id && r.Type == typ && r.Source == SourceImport && r.current() {
				ex.told[relKey{from, typ, id, SourceImport}] = true
				out = append(out, from)
			}
		}
	}
	slices.Sort(out)
	return out
}

// title is the imported name of an item.
func (ex *exporter) title(id string) string {
	ex.nested[id] = true
	return ex.g.nodes[id].rec.Names[SourceImport].Value
}

func (ex *exporter) site(id string) fileSite {
	s := fileSite{Name: word{text: keyOf(id)}, Title: ex.title(id)}
	prefix := "room/" + keyOf(id) + "/"
	for _, room := range ex.children(id, "room", PartOf) {
		name, ok := strings.CutPrefix(room, prefix)
		if !ok {
			delete(ex.told, relKey{room, PartOf, id, SourceImport})
			continue
		}
		f := fileRoom{Name: word{text: name}, Title: ex.title(room)}
		for _, rack := range ex.children(room, "rack", PartOf) {
			f.Racks = append(f.Racks, ex.rack(rack))
		}
		s.Rooms = append(s.Rooms, f)
	}
	return s
}

func (ex *exporter) rack(id string) fileRack {
	claims := ex.g.nodes[id].rec.Claims
	k := fileRack{Name: word{text: keyOf(id)}, Title: ex.title(id), Row: claims["row"][SourceImport].Value}
	k.Units.value, _ = strconv.ParseFloat(claims["units"][SourceImport].Value, 64)
	k.Units.value = cmp.Or(k.Units.value, defaultUnits)
	for _, from := range ex.children(id, "", PlacedIn) {
		i := slices.IndexFunc(ex.g.nodes[from].rec.Relations, func(r Relation) bool {
			return r.To == id && r.Type == PlacedIn && r.Source == SourceImport && r.current()
		})
		p := ex.g.placement(from, ex.g.nodes[from].rec.Relations[i])
		f := filePlace{Kind: word{text: p.Kind}, Name: word{text: keyOf(from)}, Face: word{text: p.Face}}
		if p.U > 0 {
			f.U.value, f.Height.value = p.U, p.Height
		}
		k.Contents = append(k.Contents, f)
	}
	slices.SortStableFunc(k.Contents, func(a, b filePlace) int { return cmp.Compare(b.U.value, a.U.value) })
	return k
}

func (ex *exporter) application(id string) fileApplication {
	a := fileApplication{Name: word{text: keyOf(id)}, Title: ex.title(id)}
	for _, r := range ex.g.nodes[id].rec.Relations {
		if r.Type == DependsOn && r.Source == SourceImport && r.current() && len(r.Fields) == 0 {
			ex.told[relKey{id, DependsOn, r.To, SourceImport}] = true
			a.DependsOn = append(a.DependsOn, word{text: r.To})
		}
	}
	slices.SortFunc(a.DependsOn, func(x, y word) int { return cmp.Compare(x.text, y.text) })
	return a
}

// item is what nesting did not say of an item; not ok when it said all.
func (ex *exporter) item(id string) (fileItem, bool) {
	r := ex.g.nodes[id].rec
	nested := ex.nested[id]
	out := fileItem{ID: word{text: id}, Fields: map[string]string{}, Names: map[string]string{}, Seen: map[string]map[string]string{}}
	for source, f := range r.Names {
		if rank(source) == 0 {
			out.Names[source] = f.Value
		} else if !nested {
			out.Name = f.Value
		}
	}
	for _, source := range r.Sources {
		if rank(source) == 0 {
			out.Seen[source] = map[string]string{}
		}
	}
	for name, claims := range r.Claims {
		for source, f := range claims {
			switch {
			case rank(source) == 0:
				if out.Seen[source] == nil {
					out.Seen[source] = map[string]string{}
				}
				out.Seen[source][name] = f.Value
			case nested && kindOf(id) == "rack" && (name == "row" && f.Value != "" || name == "units"):
			default:
				out.Fields[name] = f.Value
			}
		}
	}
	needed := len(out.Fields)+len(out.Names)+len(out.Seen) > 0 || out.Name != ""
	return out, needed || !nested && !ex.placed(id)
}

// placed tells whether the item stands in the contents of a rack.
func (ex *exporter) placed(id string) bool {
	return slices.ContainsFunc(ex.g.nodes[id].rec.Relations, func(r Relation) bool {
		return ex.told[relKey{id, r.Type, r.To, r.Source}] && r.Type == PlacedIn
	})
}

// relations are those of an item that nesting did not say.
func (ex *exporter) relations(id string) []fileRelation {
	var out []fileRelation
	rels := slices.Clone(ex.g.nodes[id].rec.Relations)
	slices.SortFunc(rels, compareRelations)
	for _, r := range rels {
		if !r.current() || ex.told[relKey{id, r.Type, r.To, r.Source}] || ex.g.nodes[r.To] == nil {
			continue
		}
		f := fileRelation{From: word{text: id}, Type: word{text: r.Type}, To: word{text: r.To}, Fields: r.Fields}
		if r.Source != SourceImport {
			f.Source = r.Source
		}
		out = append(out, f)
	}
	return out
}
