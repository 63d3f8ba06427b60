package compare

import (
	"fmt"
	"net/http"
)

// The shadow rounds otherwise, and writes its JSON in another order, which says the same.
func ExampleJudge() {
	kind := http.Header{"Content-Type": {"application/json"}}
	live := &Answer{Status: 200, Header: kind, Body: []byte(`{"number":"2026-0042","total":119.00}`)}
	shadow := &Answer{Status: 200, Header: kind, Body: []byte(`{"total":119.01,"number":"2026-0042"}`)}

	rules := &Rules{Body: JSON, MaxBodySize: 64 << 10, Show: Values}
	finding := Judge(rules, live, shadow)
	fmt.Println(finding.Outcome)
	for _, d := range finding.Differences {
		fmt.Println(d.Key, d.Relation)
	}
	// Output:
	// mismatch
	// $.total +0.01
}
