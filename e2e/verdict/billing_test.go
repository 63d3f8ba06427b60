package verdict

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A request is what a client asks the billing service for.
type request struct {
	method, target string // "": GET
	endpoint       string // what the report is to call it
	no             int    // of the invoice, the customer or the page that it is about
	header         http.Header
	body           string
	leaves         bool // before it has all of the answer
}

// An ask makes the i-th request of a scenario.
type ask func(i int) request

func about(kind string) ask {
	return func(i int) request {
		return request{target: fmt.Sprintf("/%s/%d", kind, i), endpoint: "GET /" + kind + "/*", no: i}
	}
}

var (
	invoices  = about("invoices")
	customers = about("customers")
	accounts  = about("accounts")
	documents = about("documents") // in XML
	exports   = about("exports")   // in CSV
	ledgers   = about("ledgers")   // a JSON value a line
)

// pages asks for one page of the list of invoices after the other.
func pages(i int) request {
	return request{target: fmt.Sprintf("/invoices?page=%d", i+1), endpoint: "GET /invoices", no: i + 1}
}

// drafts makes a draft of an invoice.
func drafts(i int) request {
	return request{method: "POST", target: "/drafts", endpoint: "POST /drafts", no: i,
		header: http.Header{"Content-Type": {"application/json"}}, body: fmt.Sprintf(`{"customer":%d}`, 10000+i)}
}

// heads asks only what there is to know of invoices.
func heads(i int) request {
	r := invoices(i)
	r.method, r.endpoint = "HEAD", "HEAD /invoices/*"
	return r
}

func deletions(i int) request {
	return request{method: "DELETE", target: fmt.Sprintf("/drafts/%d", i), endpoint: "DELETE /drafts/*", no: i}
}

func scans(size int) ask {
	return func(i int) request {
		return request{method: "PUT", target: fmt.Sprintf("/scans/%d", i), endpoint: "PUT /scans/*", no: i, body: strings.Repeat("scan", size/4)}
	}
}

var operations = []string{"Invoice", "Customer", "Payments", "Reminders"}

// queries are GraphQL's, all of which have one path.
func queries(i int) request {
	operation := operations[i%len(operations)]
	return request{method: "POST", target: "/graphql", endpoint: "POST /graphql " + operation, no: i, header: http.Header{"Content-Type": {"application/json"}},
		body: fmt.Sprintf(`{"operationName":%q,"query":"query %s($number: Int!) { invoice(number: $number) { number total } }","variables":{"number":%d}}`, operation, operation, i)}
}

// with has the requests have more headers.
func with(a ask, name, value string) ask {
	return func(i int) request {
		r := a(i)
		r.header = maps.Clone(r.header)
		if r.header == nil {
			r.header = http.Header{}
		}
		r.header.Set(name, value)
		return r
	}
}

// twice asks for everything twice.
func twice(a ask) ask { return func(i int) request { return a(i / 2) } }

// inTurn asks now this, now that.
func inTurn(asks ...ask) ask { return func(i int) request { return asks[i%len(asks)](i) } }

// Money is an amount in hundredths.
type money int64

func (m money) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	return fmt.Sprintf("%s%d.%02d", sign, m/100, m%100)
}

func (m money) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// share is so many percent of the amount, rounded half up.
func (m money) share(percent int) money {
	if m < 0 {
		return -(-m).share(percent)
	}
	return (m*money(percent) + 50) / 100
}

// An object is one of JSON.
type object map[string]any

// A moment is written as RFC 3339 has it.
type moment struct{ time.Time }

func (m moment) MarshalJSON() ([]byte, error) { return json.Marshal(m.Format(time.RFC3339)) }

// A day is written without a time.
type day struct{ time.Time }

func (d day) MarshalJSON() ([]byte, error) { return json.Marshal(d.Format(time.DateOnly)) }

func (d day) add(days int) day { return day{d.AddDate(0, 0, days)} }

// names are those of customers.
var names = []string{
	"Meyer & Söhne", "Lindqvist Bygg", "O'Brien Haulage", "Yamada Trading", "Dubois Frères", "Kowalski Transport", "Rossi Arredamenti", "García Hermanos",
	"Novák a syn", "Jansen Logistiek", "Hansen Rør", "Weber Gerüstbau", "Silva Vinhos", "Popescu Auto", "Horvat Gradnja", "Nagy Pékség", "Virtanen Talotekniikka",
	"Murphy Plumbing", "Costa Frutas", "Schmid Käserei", "Müller Druck", "Lefèvre Optique", "Andersson El", "Bianchi Moda",
}

var articles = []string{
	"Scaffolding, per day", "Delivery, express", "Paper A4, 80 g", "Toner, black", "Working hour, electrician", "Working hour, apprentice",
	"Cable NYM-J 3x1.5", "Fuse box, 24 modules", "Coffee, 1 kg", "Cleaning, office", "Licence, per seat", "Support, per month",
}

// A book is what the billing service knows. All of it comes from a seed, so that each
// version of the service, wherever it runs, knows the same.
type book uint64

// entry is chance that is the same for each version of the service.
func (b book) entry(kind string, no int) *rand.Rand {
	sum := uint64(no)
	for _, c := range kind {
		sum = sum*1099511628211 + uint64(c)
	}
	return rand.New(rand.NewPCG(uint64(b), sum))
}

func (b book) customer(no int) object {
	r := b.entry("customer", no)
	return object{"number": 10000 + no, "name": names[r.IntN(len(names))], "postcode": fmt.Sprintf("%05d", r.IntN(99999)), "discount": r.IntN(4) * 5}
}

func (b book) invoice(no int) object {
	r := b.entry("invoice", no)
	issued := day{time.Date(2026, time.January, 2+r.IntN(300), 0, 0, 0, 0, time.UTC)}
	lines := []any{}
	net := map[int]money{}
	sku := r.Perm(len(articles))
	for i := range 2 + r.IntN(4) {
		quantity, price, rate := 1+r.IntN(20), money(95+r.IntN(30000)), []int{19, 19, 7}[r.IntN(3)]
		sum := price * money(quantity)
		net[rate] += sum
		lines = append(lines, object{"sku": fmt.Sprintf("A-%d", 1000+sku[i]), "text": articles[sku[i]], "quantity": quantity, "price": price, "rate": rate, "net": sum, "vat": sum.share(rate)})
	}
	vat := net[19].share(19) + net[7].share(7)
	return object{
		"number": fmt.Sprintf("2026-%06d", 4000+no), "customer": b.customer(r.IntN(400)),
		"issued": issued, "due": issued.add(30), "entered": moment{issued.Add(time.Duration(r.IntN(86400)) * time.Second)},
		"currency": "EUR", "paid": r.IntN(2) == 0, "reminders": r.IntN(3), "positions": len(lines), "lines": lines,
		"net": net[19] + net[7], "vat": vat, "total": net[19] + net[7] + vat,
	}
}

const itemsOfAPage = 10

func (b book) listed(no int) object {
	in := b.invoice(no)
	return object{"number": in["number"], "customer": in["customer"].(object)["number"], "total": in["total"]}
}

func (b book) page(no int) object {
	items := []any{}
	for i := range itemsOfAPage {
		items = append(items, b.listed(no*itemsOfAPage+i))
	}
	return object{"page": no, "items": items}
}

// A reply is an answer of the service, until it is written.
type reply struct {
	request
	i      int
	status int
	header http.Header
	body   any                                      // an object or a list, or a text
	write  func(body any) []byte                    // how objects and lists become text
	coded  func(text []byte) []byte                 // what becomes of the text on its way
	does   func(http.ResponseWriter, *http.Request) // in place of answering
}

// answer is what is right.
func (b book) answer(r request, i int) *reply {
	a := &reply{request: r, i: i, status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, write: written}
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.target, "/"), "/")
	switch {
	case kind == "customers":
		a.body = b.customer(r.no)
	case kind == "accounts":
		a.body = object{"account": 10000 + r.no, "balance": b.invoice(r.no)["total"]}
	case kind == "documents":
		a.header.Set("Content-Type", "application/xml")
		a.body = document(b.invoice(r.no))
	case kind == "exports":
		a.header.Set("Content-Type", "text/csv")
		a.body = b.export(r.no)
	case kind == "ledgers":
		a.header.Set("Content-Type", "application/x-ndjson")
		a.body = b.page(r.no)["items"]
		a.write = linewise
	case kind == "drafts" && r.method == "DELETE":
		a.body = object{"deleted": true}
	case kind == "drafts":
		a.status = http.StatusCreated
		a.body = object{"customer": b.customer(r.no)["number"]}
	case kind == "graphql":
		a.body = object{"data": object{"invoice": b.listed(r.no)}}
	case kind == "scans":
		a.body = object{"size": len(r.body)}
	case strings.HasPrefix(kind, "invoices?"):
		a.body = b.page(r.no)
	default:
		a.body = b.invoice(r.no)
	}
	return a
}

func document(in object) string {
	lines := &strings.Builder{}
	for _, l := range in["lines"].([]any) {
		fmt.Fprintf(lines, "<line sku=%q><net>%s</net></line>", l.(object)["sku"], l.(object)["net"])
	}
	return fmt.Sprintf(`<invoice number=%q>%s<total currency="EUR">%s</total></invoice>`, in["number"], lines, in["total"])
}

func (b book) export(no int) string {
	rows := "number;customer;total\n"
	for i := range itemsOfAPage {
		l := b.listed(no*itemsOfAPage + i)
		rows += fmt.Sprintf("%s;%d;%s\n", l["number"], l["customer"], l["total"])
	}
	return rows
}

// written writes a body: a text as it is, all else as JSON.
func written(body any) []byte {
	if text, ok := body.(string); ok {
		return []byte(text)
	}
	return encoded(body)
}

func encoded(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err)
	}
	return bytes.ReplaceAll(bytes.TrimSpace(b.Bytes()), []byte(`"`+notANumber+`"`), []byte(notANumber))
}

// linewise writes each element of a list in a line of its own.
func linewise(body any) []byte {
	var text []byte
	for _, element := range body.([]any) {
		text = append(append(text, written(element)...), '\n')
	}
	return text
}

// backwards writes members from the last to the first, with white space between.
func backwards(body any) []byte {
	switch v := body.(type) {
	case object:
		members := []string{}
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(v))) {
			members = append(members, fmt.Sprintf("%q : %s", name, backwards(v[name])))
		}
		return []byte("{ " + strings.Join(members, ",\n  ") + " }")
	case []any:
		elements := []string{}
		for _, element := range v {
			elements = append(elements, string(backwards(element)))
		}
		return []byte("[" + strings.Join(elements, " , ") + "]")
	}
	return encoded(body)
}

// member returns the object that the last name of a path is in, and that name: of
// customer.name the customer. A number is a place in a list, the last one's is -1.
func member(body any, path string) (object, string) {
	first, rest, more := strings.Cut(path, ".")
	if list, ok := body.([]any); ok {
		n, _ := strconv.Atoi(first)
		return member(list[(n+len(list))%len(list)], rest)
	}
	if !more {
		return body.(object), first
	}
	return member(body.(object)[first], rest)
}

// set changes the member at a path to what f makes of it.
func set[T any](path string, f func(T) any) edit {
	return func(_ *instance, a *reply) string {
		in, name := member(a.body, path)
		before := encoded(in[name])
		in[name] = f(in[name].(T))
		if after := encoded(in[name]); !bytes.Equal(before, after) {
			return string(after)
		}
		return ""
	}
}

// add adds a member, or takes its place.
func add(path string, value any) edit {
	return fresh(path, func(*instance) any { return value })
}

// fresh is add for what each instance makes itself.
func fresh(path string, value func(s *instance) any) edit {
	return func(s *instance, a *reply) string {
		in, name := member(a.body, path)
		in[name] = value(s)
		return string(encoded(in[name]))
	}
}

func remove(path string) edit {
	return func(_ *instance, a *reply) string {
		in, name := member(a.body, path)
		delete(in, name)
		return "removed"
	}
}

// lines changes the lines of an invoice.
func lines(f func([]any) []any) edit { return set("lines", func(all []any) any { return f(all) }) }

func turned(list []any) []any {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// another puts other items on the page.
func another(a *reply, items any) string {
	a.body.(object)["items"] = items
	return "another"
}

// taxByLine is the tax of an invoice if each line's is rounded.
func taxByLine(a *reply) money {
	var sum money
	for _, l := range a.body.(object)["lines"].([]any) {
		sum += l.(object)["vat"].(money)
	}
	return sum
}

// inFloats is an amount as floating point may have it after a calculation.
func inFloats(m money) any {
	f := float64(m) / 100
	if with := f / 1.19 * 1.19; with != f {
		return asIs(strconv.FormatFloat(with, 'f', -1, 64))
	}
	return m
}

// asIs is JSON as it is.
type asIs string

func (r asIs) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// notANumber is what some write for one.
const notANumber = "NaN"

// inDays is a moment in so many days, in seconds. How long an answer takes differs.
func inDays(n int) func(*instance) any {
	return func(s *instance) any {
		return moment{time.Now().UTC().AddDate(0, 0, n).Add(time.Duration(s.chance(1000)) * time.Millisecond)}
	}
}

// to changes the answers to some requests.
func to(prefix string, do edit) edit {
	return func(s *instance, a *reply) string {
		if !strings.HasPrefix(a.target, prefix) {
			return ""
		}
		return do(s, a)
	}
}

func every(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }

// header sets a header; "" takes it away.
func header(name, value string) edit {
	return func(_ *instance, a *reply) string {
		if value == "" {
			a.header.Del(name)
			return "removed"
		}
		a.header.Set(name, value)
		return value
	}
}

// cookie sets a cookie with attributes.
func cookie(attributes string) edit {
	return func(s *instance, a *reply) string {
		a.header.Set("Set-Cookie", "session="+s.uuid()+attributes)
		return attributes
	}
}

// withStatus answers with another status, and with a text or a problem.
func withStatus(code int, body string) edit {
	return func(_ *instance, a *reply) string {
		a.status, a.body = code, body
		if !strings.HasPrefix(body, "{") {
			a.header.Set("Content-Type", "text/plain")
		}
		return strconv.Itoa(code)
	}
}

// rewritten changes an answer that is one.
func rewritten(f func(string) string) edit {
	return func(_ *instance, a *reply) string {
		before := a.body.(string)
		a.body = f(before)
		return changed(before, a.body.(string))
	}
}

func changed(before, after string) string {
	if before == after {
		return ""
	}
	return "changed"
}

// coded has the text be written otherwise.
func coded(f func([]byte) []byte) edit {
	return func(_ *instance, a *reply) string {
		a.coded = f
		return ""
	}
}

// instead does something in place of answering.
func instead(does http.HandlerFunc) edit {
	return func(_ *instance, a *reply) string {
		a.does = does
		return "does something else"
	}
}

// half answers with the half of what it promised, and waits for the client to leave.
func half(rw http.ResponseWriter, req *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Content-Length", "2000")
	rw.Write(make([]byte, 1000))
	http.NewResponseController(rw).Flush()
	<-req.Context().Done()
}

func events(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(rw, "data: %d\n\n", time.Now().UnixNano())
}

func asciiOnly(text string) any {
	return strings.Map(func(c rune) rune {
		if c > 127 {
			return '?'
		}
		return c
	}, text)
}

func latin1(text []byte) []byte {
	var b []byte
	for _, c := range string(text) {
		b = append(b, byte(c))
	}
	return b
}

func escapedUnicode(text []byte) []byte {
	var b []byte
	for _, c := range string(text) {
		if c > 127 {
			b = fmt.Appendf(b, `\u%04x`, c)
		} else {
			b = append(b, byte(c))
		}
	}
	return b
}

// zipped has the answer be compressed.
func zipped(_ *instance, a *reply) string {
	a.header.Set("Content-Encoding", "gzip")
	a.coded = func(text []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(text)
		w.Close()
		return b.Bytes()
	}
	return ""
}
