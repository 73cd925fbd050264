package static

import "encoding/json"

// Vendored is one file that is not ours.
type Vendored struct {
	File        string `json:"file"`
	Name        string `json:"name"`
	Version     string `json:"version"`
	Licence     string `json:"licence"`
	LicenceFile string `json:"licenceFile"`
	SHA256      string `json:"sha256"`
	Source      string `json:"source"` // home of the project
}

// Vendor lists the vendored files, as vendor.json says.
func Vendor() ([]Vendored, error) {
	b, err := files.ReadFile("vendor/vendor.json")
	if err != nil {
		return nil, err
	}
	var list []Vendored
	return list, json.Unmarshal(b, &list)
}
