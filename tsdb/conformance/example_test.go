package conformance_test

import (
	"fmt"
	"slices"
	"sync"

	"nocturne/tsdb/conformance"
)

// memory is a store that forgets everything when it is closed: enough to see
// what an adapter takes.
type memory struct {
	mu     sync.Mutex
	series map[string][]conformance.Point
}

func (m *memory) Append(series string, t int64, v float64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	points := m.series[series]
	if n := len(points); n > 0 && points[n-1].T >= t {
		return fmt.Errorf("append to %s: %d is not newer than the last point", series, t)
	}
	m.series[series] = append(points, conformance.Point{T: t, V: v})
	return nil
}

func (m *memory) Sync() error { return nil }

func (m *memory) Select(series string, from, to int64) ([]conformance.Point, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.series[series]), func(p conformance.Point) bool { return p.T < from || p.T > to }), nil
}

func (m *memory) Close() error { return nil }

// A test package hands its subject to Child in TestMain and to Run in a test;
// Run logs the table that is written here by hand.
func Example() {
	subject := conformance.Subject{
		Name: "memory",
		Open: func(string) (conformance.Store, error) {
			return &memory{series: map[string][]conformance.Point{}}, nil
		},
	}
	store, err := subject.Open("")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	fmt.Println(store.Append("a", 1, 0.5), store.Append("a", 1, 0.7))
	fmt.Print(conformance.Table(subject.Name, []conformance.Verdict{
		{Case: conformance.Duplicates, Pass: true, Detail: "refused"},
		{Case: conformance.KillTwice, Detail: "all is lost"},
		{Case: conformance.Deletion, Skip: true, Detail: "not claimed"},
	}))
	// Output:
	// <nil> append to a: 1 is not newer than the last point
	// memory
	//   pass  duplicates do not double            0.0s  refused
	//   FAIL  kill -9 twice in a row              0.0s  all is lost
	//   skip  deletion                            0.0s  not claimed
}
