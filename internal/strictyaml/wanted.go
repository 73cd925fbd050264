package strictyaml

import (
	"fmt"
	"reflect"
	"time"
)

// oneValue is wanted of a type that reads itself from a scalar: its own error
// says more.
const oneValue = "one value"

// wanted says what a field of type t takes.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a time such as 30s, 5m or 1h30m"
	// The errors of these libraries do not say what they take.
	case t.String() == "model.Duration":
		return "a time such as 30s, 12h, 15d or 1y"
	case t.String() == "netip.Prefix":
		return "a network such as 192.0.2.0/24 or 2001:db8::/32"
	case isScalarType(t):
		return oneValue
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "one text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		most := int64(uint64(1)<<(t.Bits()-1) - 1)
		return fmt.Sprintf("a whole number from %d to %d", -most-1, most)
	}
	return "a value of type " + t.String()
}
