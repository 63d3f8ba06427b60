package report

import (
	"net/url"
	"testing"
)

func queryOf(t *testing.T, text string) url.Values {
	t.Helper()
	query, err := url.ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	return query
}

// The name of a page is the same for all queries that ask for the same, so that there are no
// more pages than the document has something to show, whatever is in an address.
func TestQueriesThatAskForTheSameAreOnePage(t *testing.T) {
	one, many := documentOf(billing()), documentOf(billing(), reports(), fresh())
	tests := []struct {
		d           *Document
		query, name string
	}{
		{one, "", "?middleware=shadow-billing%40docker"},
		{one, "middleware=shadow-billing", "?middleware=shadow-billing%40docker"},
		{one, "refresh=0&utm=1", "?middleware=shadow-billing%40docker&refresh=0"},
		{one, "refresh=5&open=time&open=noise&open=everything&open=time", "?middleware=shadow-billing%40docker&open=noise&open=time"},
		{one, "endpoint=GET+/invoices/*", "?endpoint=GET+%2Finvoices%2F%2A&middleware=shadow-billing%40docker"},
		{one, "endpoint=GET+/<script>", "?middleware=shadow-billing%40docker&unknown=1"},
		{one, "middleware=<script>", "?unknown=1"},
		{many, "", "?"},
		{many, "middleware=shadow-reports@file&endpoint=GET+/", "?middleware=shadow-reports%40file"},
		{many, "endpoint=GET+/invoices/*", "?"},
	}
	for _, test := range tests {
		if got := PageName(test.d, queryOf(t, test.query)); got != test.name {
			t.Errorf("%q: got %s, want %s", test.query, got, test.name)
		}
	}
}

// A name without its provider is enough where there is one of it.
func TestMiddlewaresAreFoundByName(t *testing.T) {
	twice := reports()
	twice.Name = "shadow-billing@file"
	tests := []struct {
		d          *Document
		name, want string
	}{
		{documentOf(billing(), reports()), "shadow-billing", "shadow-billing@docker"},
		{documentOf(billing(), reports()), "shadow-billing@docker", "shadow-billing@docker"},
		{documentOf(billing(), reports()), "", ""},
		{documentOf(billing(), reports()), "shadow-billing@", ""},
		{documentOf(billing(), reports()), "shadow", ""},
		{documentOf(billing(), twice), "shadow-billing", ""},
		{documentOf(billing(), twice), "shadow-billing@file", "shadow-billing@file"},
		{documentOf(billing()), "", "shadow-billing@docker"},
		{documentOf(), "", ""},
	}
	for _, test := range tests {
		got := ""
		if m := test.d.Middleware(test.name); m != nil {
			got = m.Name
		}
		if got != test.want {
			t.Errorf("%q: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Where a link of the page leads, the rest of what is seen stays as it is.
func TestLinksKeepTheLook(t *testing.T) {
	l := newLook(documentOf(billing(), reports()), queryOf(t, "middleware=shadow-billing&endpoint=PUT+/scans/*&open=noise&refresh=0"))
	for what, test := range map[string][2]string{
		"another endpoint":  {l.of("GET /invoices/*"), "?endpoint=GET+%2Finvoices%2F%2A&middleware=shadow-billing%40docker&open=noise&refresh=0"},
		"all endpoints":     {l.of(""), "?middleware=shadow-billing%40docker&open=noise&refresh=0"},
		"another mirror":    {l.at("shadow-reports@file"), "?middleware=shadow-reports%40file&open=noise&refresh=0"},
		"folding":           {l.unfolded(sectionNoise), "?endpoint=PUT+%2Fscans%2F%2A&middleware=shadow-billing%40docker&refresh=0#noise"},
		"unfolding another": {l.unfolded(sectionTime), "?endpoint=PUT+%2Fscans%2F%2A&middleware=shadow-billing%40docker&open=noise&open=time&refresh=0#time"},
		"refresh":           {l.refreshed(false), "?endpoint=PUT+%2Fscans%2F%2A&middleware=shadow-billing%40docker&open=noise"},
	} {
		if test[0] != test[1] {
			t.Errorf("%s: got %s, want %s", what, test[0], test[1])
		}
	}
}
