package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"nocturne/internal/strictyaml"
)

// ImportReport tells what an import did, by item ID.
type ImportReport struct {
	Created   []string
	Changed   []string
	Unchanged int
}

// ImportYAML takes in a file of the format that the package comment shows. name
// is the file's name in faults, by who imports. With a fault anywhere nothing
// is taken in; the error joins a *strictyaml.Fault for each.
func (g *Graph) ImportYAML(ctx context.Context, name string, data []byte, by string) (ImportReport, error) {
	var doc fileDoc
	if err := strictyaml.Decode(name, data, &doc); err != nil {
		return ImportReport{}, err
	}
	g.write.Lock()
	defer g.write.Unlock()
	im := newImporter(g, name, by)
	im.document(doc)
	im.mustExist()
	if len(im.faults) > 0 {
		return ImportReport{}, errors.Join(im.faults...)
	}
	im.relate()
	created, changed, err := im.commit(ctx, nil)
	if err != nil {
		return ImportReport{}, fmt.Errorf("import %s: %w", name, err)
	}
	slices.Sort(created)
	slices.Sort(changed)
	return ImportReport{Created: created, Changed: changed, Unchanged: len(im.changed) - len(created) - len(changed)}, nil
}

// CheckYAML tells what is wrong with a file in itself. That whatever it relates
// to exists can be told by an import alone.
func CheckYAML(name string, data []byte) error {
	var doc fileDoc
	if err := strictyaml.Decode(name, data, &doc); err != nil {
		return err
	}
	im := newImporter(new(Graph), name, "")
	im.document(doc)
	return errors.Join(im.faults...)
}

// importer gathers a file into an edit.
type importer struct {
	*edit
	file, by string
	faults   []error
	stands   map[string]int  // what may stand only once: ID, place -> line
	named    map[string]bool // items this file knows
	rels     map[string]map[string][]Relation
	ends     []end
}

// end is a mention of an item that must exist in the end.
type end struct {
	id   word
	path string
}

func newImporter(g *Graph, file, by string) *importer {
	e := g.edit(time.Now().UTC().Truncate(time.Millisecond))
	e.whole = true
	return &importer{
		edit: e, file: file, by: by,
		stands: map[string]int{}, named: map[string]bool{}, rels: map[string]map[string][]Relation{},
	}
}

func (im *importer) fault(line int, path, format string, args ...any) {
	im.faults = append(im.faults, &strictyaml.Fault{File: im.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (im *importer) document(doc fileDoc) {
	for i, s := range doc.Sites {
		im.site(fmt.Sprintf("sites[%d]", i), s)
	}
	for i, a := range doc.Applications {
		path := fmt.Sprintf("applications[%d]", i)
		id := im.once(path, "application", "", a.Name)
		im.item(id, a.Title)
		for j, d := range a.DependsOn {
			im.relation(id, fmt.Sprintf("%s.depends_on[%d]", path, j), Relation{Type: DependsOn}, d)
		}
	}
	for i, it := range doc.Items {
		im.fileItem(fmt.Sprintf("items[%d]", i), it)
	}
	for i, r := range doc.Relations {
		im.fileRelation(fmt.Sprintf("relations[%d]", i), r)
	}
}

// mustExist faults mentions of items that are neither here nor in the graph.
func (im *importer) mustExist() {
	for _, e := range im.ends {
		if !im.named[e.id.text] && im.g.nodes[e.id.text] == nil {
			im.fault(e.id.line, e.path, "there is no %s, neither here nor in the inventory", e.id.text)
		}
	}
}

func (im *importer) site(path string, s fileSite) {
	id := im.once(path, "site", "", s.Name)
	im.item(id, s.Title)
	for i, room := range s.Rooms {
		path := fmt.Sprintf("%s.rooms[%d]", path, i)
		roomID := im.once(path, "room", s.Name.text+"/", room.Name)
		im.item(roomID, room.Title)
		im.add(roomID, Relation{Type: PartOf, To: id, Source: SourceImport})
		for j, rack := range room.Racks {
			im.rack(fmt.Sprintf("%s.racks[%d]", path, j), roomID, rack)
		}
	}
}

func (im *importer) rack(path, room string, k fileRack) {
	id := im.once(path, "rack", "", k.Name)
	r := im.item(id, k.Title)
	units := cmp.Or(k.Units.value, defaultUnits)
	if units != math.Trunc(units) || units < 1 || units > 100 {
		im.fault(k.Units.line, path+".units", "wants a whole number from 1 to 100, not %s", k.Units)
	}
	im.set(r, "units", strconv.Itoa(int(units)))
	if k.Row != "" {
		im.set(r, "row", k.Row)
	}
	im.add(id, Relation{Type: PartOf, To: room, Source: SourceImport})
	for i, p := range k.Contents {
		im.place(fmt.Sprintf("%s.contents[%d]", path, i), id, units, p)
	}
}

// place takes one thing in a rack. Two in one place are no fault: the room is
// what it is, and the rack shows the conflict.
func (im *importer) place(path, rack string, units float64, p filePlace) {
	if !validKind(p.Kind.text) {
		im.fault(max(p.Kind.line, p.Name.line), path+".kind", "wants a kind such as device or host, not %q", p.Kind.text)
		return
	}
	if p.Name.text == "" {
		im.fault(p.Kind.line, path+".name", "is missing")
		return
	}
	id := p.Kind.text + "/" + p.Name.text
	if line, twice := im.stands["place "+id]; twice {
		im.fault(p.Name.line, path+".name", "%s has a place already in line %d", id, line)
		return
	}
	im.stands["place "+id] = p.Name.line
	fields := map[string]string{"face": cmp.Or(p.Face.text, "front")}
	if !slices.Contains([]string{"front", "rear"}, fields["face"]) {
		im.fault(p.Face.line, path+".face", "wants front or rear, not %q", p.Face.text)
	}
	height := cmp.Or(p.Height.value, 1)
	switch {
	case p.U.value == 0 && p.Height.value != 0:
		im.fault(p.Height.line, path+".height", "has no meaning without u")
	case p.U.value == 0:
	case p.U.value < 1 || p.U.value*2 != math.Trunc(p.U.value*2):
		im.fault(p.U.line, path+".u", "wants a unit from 1 in half steps, not %s", p.U)
	case height <= 0 || height*2 != math.Trunc(height*2):
		im.fault(p.Height.line, path+".height", "wants a height in half units, not %s", p.Height)
	case p.U.value+height > units+1:
		im.fault(p.U.line, path+".u", "%s and %s high does not fit a rack of %s units", p.U, number{value: height}, number{value: units})
	default:
		fields["u"], fields["height"] = p.U.String(), number{value: height}.String()
	}
	im.item(id, "")
	im.add(id, Relation{Type: PlacedIn, To: rack, Fields: fields, Source: SourceImport})
}

func (im *importer) fileItem(path string, it fileItem) {
	if !validID(it.ID.text) {
		im.fault(it.ID.line, path+".id", "wants kind/key, not %q", it.ID.text)
		return
	}
	if line, twice := im.stands["item "+it.ID.text]; twice {
		im.fault(it.ID.line, path+".id", "%s stands in line %d already", it.ID.text, line)
		return
	}
	im.stands["item "+it.ID.text] = it.ID.line
	r := im.item(it.ID.text, it.Name)
	for f, v := range it.Fields {
		im.set(r, f, v)
	}
	for source, n := range it.Names {
		if im.discovers(it.ID.line, path+".names."+source, source) {
			r.name(Field{Value: n, Source: source, At: im.at})
		}
	}
	for source, fields := range it.Seen {
		if !im.discovers(it.ID.line, path+".seen."+source, source) {
			continue
		}
		r.addSource(source)
		for f, v := range fields {
			r.field(f, Field{Value: v, Source: source, At: im.at})
		}
	}
}

func (im *importer) discovers(line int, path, source string) bool {
	if source == "" || rank(source) > 0 {
		im.fault(line, path, "wants the name of a source that discovers, not %q", source)
		return false
	}
	return true
}

func (im *importer) fileRelation(path string, r fileRelation) {
	if !validID(r.From.text) {
		im.fault(r.From.line, path+".from", "wants kind/key, not %q", r.From.text)
		return
	}
	if !slices.Contains(relationTypes, r.Type.text) {
		im.fault(cmp.Or(r.Type.line, r.From.line), path+".type", "wants one of %s, not %q", strings.Join(relationTypes, ", "), r.Type.text)
		return
	}
	im.ends = append(im.ends, end{r.From, path + ".from"})
	im.relation(r.From.text, path+".to", Relation{Type: r.Type.text, Fields: r.Fields, Source: r.Source}, r.To)
}

// relation adds a relation to an item that must exist.
func (im *importer) relation(from, path string, r Relation, to word) {
	if !validID(to.text) {
		im.fault(to.line, path, "wants kind/key, not %q", to.text)
		return
	}
	im.ends = append(im.ends, end{to, path})
	r.To, r.Source = to.text, cmp.Or(r.Source, SourceImport)
	if len(r.Fields) == 0 {
		r.Fields = nil
	}
	if single(r.Type) && r.Source == SourceImport {
		if slices.ContainsFunc(im.rels[from][r.Source], func(o Relation) bool { return o.Type == r.Type && o.To != r.To }) {
			im.fault(to.line, path, "%s is %s something else already in this file", from, r.Type)
			return
		}
	}
	im.add(from, r)
}

// once makes the ID of something that has a name and may stand once.
func (im *importer) once(path, kind, prefix string, name word) string {
	id := kind + "/" + prefix + name.text
	if name.text == "" {
		im.fault(name.line, path+".name", "is missing")
		return id
	}
	if line, twice := im.stands[id]; twice {
		im.fault(name.line, path+".name", "%s stands in line %d already", id, line)
	}
	im.stands[id] = name.line
	return id
}

// item is the record of an item that the file knows.
func (im *importer) item(id, name string) *record {
	im.named[id] = true
	r := im.edit.item(id)
	r.addSource(SourceImport)
	if name != "" {
		r.name(Field{Value: name, Source: SourceImport, By: im.by, At: im.at})
	}
	return r
}

func (im *importer) set(r *record, field, value string) {
	r.field(field, Field{Value: value, Source: SourceImport, By: im.by, At: im.at})
}

func (im *importer) add(from string, r Relation) {
	if im.rels[from] == nil {
		im.rels[from] = map[string][]Relation{}
	}
	have := im.rels[from][r.Source]
	if !slices.ContainsFunc(have, func(o Relation) bool { return o.Type == r.Type && o.To == r.To }) {
		im.rels[from][r.Source] = append(have, r)
	}
}

// relate applies the relations, each source's together.
func (im *importer) relate() {
	for from, bySource := range im.rels {
		r := im.edit.item(from)
		for _, source := range slices.Sorted(maps.Keys(bySource)) {
			r.relate(source, bySource[source], false, im.at)
		}
	}
}
