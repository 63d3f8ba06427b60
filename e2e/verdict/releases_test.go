package verdict

import (
	"bytes"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
)

// releases are new versions of the billing service: first those that are wrong, then those
// that are right, and at last those of which it cannot be known.
func releases() []*release {
	all := mistaken()
	all = append(all, right()...)
	all = append(all, unseen()...)
	return all
}

// Every mistake is seen, in all answers or in few, and it is real with a control. Without
// one it is undecided where the values are different from answer to answer, and all are
// wrong: then it looks the same as what is made anew.
func mistaken() []*release {
	return []*release{
		// Amounts.
		{name: "total-times-100", noise: []change{{do: set("total", func(m money) any { return m.String() })}}, wrong: []change{
			{key: "$.total", alone: compare.Undecided, do: set("total", func(text string) any { return strings.Replace(text, ".", "", 1) })}}},
		{name: "rounded-down", in: 12, wrong: []change{
			{key: "$.total", relation: "−0.01", alone: compare.Real, do: set("total", func(m money) any { return m - 1 })}}},
		{name: "tax-rounded-by-line", wrong: []change{
			{key: "$.vat", alone: suspect, do: func(s *instance, a *reply) string { return set("vat", func(money) any { return taxByLine(a) })(s, a) }},
			{key: "$.total", alone: suspect, do: func(s *instance, a *reply) string {
				return set("total", func(money) any { return a.body.(object)["net"].(money) + taxByLine(a) })(s, a)
			}}}},
		{name: "tax-by-line-at-the-full-rate", in: 40, wrong: []change{
			{key: "$.lines[*].rate", alone: compare.Real, do: set("lines.0.rate", func(int) any { return 19 })},
			{key: "$.lines[*].vat", alone: compare.Real, do: func(s *instance, a *reply) string {
				first := a.body.(object)["lines"].([]any)[0].(object)
				return set("lines.0.vat", func(money) any { return first["net"].(money).share(19) })(s, a)
			}}}},
		{name: "discount-not-taken-off", ask: customers, wrong: []change{
			{key: "$.discount", relation: "zero", alone: compare.Real, do: set("discount", func(int) any { return 0 })}}},
		{name: "credit-notes-with-the-wrong-sign", in: 15, wrong: []change{
			{key: "$.total", relation: "negated", alone: compare.Real, do: set("total", func(m money) any { return -m })}}},
		{name: "another-currency", in: 10, wrong: []change{
			{key: "$.currency", alone: compare.Real, do: set("currency", func(string) any { return "CHF" })}}},
		{name: "floats-for-amounts", wrong: []change{
			{key: "$.total", alone: suspect, do: set("total", inFloats)}}},
		{name: "float-for-a-number-of-16-digits", noise: []change{{do: func(_ *instance, a *reply) string { a.body.(object)["number"] = 9007199254740993 + a.i; return "" }}}, wrong: []change{
			{key: "$.number", alone: compare.Real, do: set("number", func(n int) any { return int(float64(n)) })}}},
		{name: "not-a-number", in: 10, wrong: []change{
			{key: "$.net", alone: compare.Real, do: set("net", func(money) any { return notANumber })}}},
		{name: "amounts-with-a-comma", noise: []change{{do: set("total", func(m money) any { return m.String() })}}, wrong: []change{
			{key: "$.total", alone: compare.Undecided, do: set("total", func(text string) any { return strings.Replace(text, ".", ",", 1) })}}},
		{name: "one-wrong-total", in: 1, wrong: []change{
			{key: "$.total", alone: compare.Real, controlled: suspect, do: set("total", func(m money) any { return m + 100 })}}},

		// Dates.
		{name: "entered-in-another-time-zone", wrong: []change{
			{key: "$.entered", relation: "+1 h", alone: compare.Undecided, do: set("entered", func(m moment) any { return moment{m.Add(time.Hour)} })}}},
		{name: "due-a-day-early", wrong: []change{
			{key: "$.due", relation: "−1 day", alone: compare.Undecided, do: set("due", func(d day) any { return d.add(-1) })}}},
		{name: "due-a-day-early-now-and-then", in: 10, wrong: []change{
			{key: "$.due", relation: "−1 day", alone: compare.Real, do: set("due", func(d day) any { return d.add(-1) })}}},
		{name: "offer-expires-a-day-short", noise: []change{{key: "$.expires", alone: harmless, do: fresh("expires", inDays(30))}}, wrong: []change{
			{key: "$.expires", alone: suspect, do: fresh("expires", inDays(29))}}},
		{name: "milliseconds-for-seconds", ask: drafts, noise: []change{{key: "$.created", alone: compare.Noise, do: fresh("created", unixTime)}}, wrong: []change{
			{key: "$.created", alone: suspect, do: fresh("created", func(s *instance) any { return unixTime(s).(int64)*1000 + 123 })}}},
		{name: "local-time-for-utc", ask: drafts, noise: []change{{key: "$.created", alone: compare.Noise, do: fresh("created", zoneless(0))}}, wrong: []change{
			{key: "$.created", alone: suspect, do: fresh("created", zoneless(time.Hour))}}},
		{name: "local-time-for-utc-now-and-then", ask: drafts, in: 12, noise: []change{{key: "$.created", alone: suspect, do: fresh("created", zoneless(0))}}, wrong: []change{
			{key: "$.created", relation: "+1 h", apart: true, alone: suspect, do: fresh("created", zoneless(time.Hour))}}},
		{name: "zone-lost", ask: drafts, noise: []change{{key: "$.created", alone: compare.Noise, do: fresh("created", inDays(0))}}, wrong: []change{
			{key: "$.created", alone: suspect, do: fresh("created", zoneless(0))}}},
		{name: "due-in-another-form", wrong: []change{
			{key: "$.due", relation: "format", alone: compare.Undecided, do: set("due", func(d day) any { return d.Format("02.01.2006") })}}},

		// Names and other words.
		{name: "names-in-lower-case", ask: customers, wrong: []change{
			{key: "$.name", relation: "case", alone: compare.Undecided, do: set("name", func(text string) any { return strings.ToLower(text) })}}},
		{name: "names-with-a-space-behind", ask: customers, wrong: []change{
			{key: "$.name", relation: "whitespace", alone: compare.Undecided, do: set("name", func(text string) any { return text + " " })}}},
		{name: "umlauts-lost", ask: customers, wrong: []change{
			{key: "$.name", alone: compare.Real, do: set("name", asciiOnly)}}},
		{name: "names-escaped-twice", ask: customers, wrong: []change{
			{key: "$.name", relation: "escaping", alone: compare.Real, do: set("name", func(text string) any { return html.EscapeString(text) })}}},
		{name: "notes-cut-at-255", in: 14, noise: []change{{do: func(_ *instance, a *reply) string {
			a.body.(object)["note"] = fmt.Sprint(a.i, testbed.Payload(400))
			return ""
		}}}, wrong: []change{
			{key: "$.note", relation: "cut at 255", alone: compare.Real, do: set("note", func(text string) any { return text[:255] })}}},
		{name: "half-an-emoji-lost", in: 10, noise: []change{{do: set("currency", func(string) any { return asIs(`"\ud83d"`) })}}, wrong: []change{
			{key: "$.currency", alone: compare.Real, do: set("currency", func(asIs) any { return asIs(`"\ufffd"`) })}}},
		{name: "latin-1", ask: customers, in: 30, wrong: []change{
			{key: "header Content-Type", alone: compare.Real, do: header("Content-Type", "application/json; charset=iso-8859-1")},
			{key: "body", alone: suspect, do: func(_ *instance, a *reply) string {
				text := a.write(a.body)
				a.coded = latin1
				return changed(string(text), string(latin1(text)))
			}}}},
		{name: "identifiers-in-upper-case", ask: drafts, noise: []change{{key: "$.id", alone: compare.Noise, do: ownDraft}}, wrong: []change{
			{key: "$.id", alone: suspect, controlled: suspect, do: set("id", func(id string) any { return strings.ToUpper(id) })}}},
		{name: "identifiers-without-hyphens", ask: drafts, noise: []change{{key: "$.id", alone: compare.Noise, do: ownDraft}}, wrong: []change{
			{key: "$.id", alone: suspect, controlled: suspect, do: set("id", func(id string) any { return strings.ReplaceAll(id, "-", "") })}}},
		{name: "numbers-for-random-identifiers", ask: drafts, noise: []change{{key: "$.id", alone: compare.Noise, do: ownDraft}}, wrong: []change{
			{key: "$.id", alone: suspect, controlled: suspect, do: func(_ *instance, a *reply) string {
				a.body.(object)["id"] = fmt.Sprint("draft-", 4711+a.i)
				return "another kind"
			}}}},

		// Flags and numbers.
		{name: "paid-turned-round", wrong: []change{
			{key: "$.paid", relation: "negated", alone: compare.Real, do: set("paid", func(paid bool) any { return !paid })}}},
		{name: "one-position-too-many", noise: []change{{do: func(_ *instance, a *reply) string {
			a.body.(object)["positions"] = 1 + a.i%20
			return ""
		}}}, wrong: []change{
			{key: "$.positions", alone: suspect, do: set("positions", func(n int) any { return n + 1 })}}},
		{name: "one-reminder-too-many", in: 10, wrong: []change{
			{key: "$.reminders", alone: compare.Real, do: set("reminders", func(n int) any { return n + 1 })}}},

		// Types, and what is there.
		{name: "number-as-text", in: 10, wrong: []change{
			{key: "$.positions", relation: "number as text", alone: compare.Real, do: set("positions", func(n int) any { return strconv.Itoa(n) })}}},
		{name: "flags-as-text", wrong: []change{
			{key: "$.paid", relation: "boolean as text", alone: compare.Real, do: set("paid", func(paid bool) any { return strconv.FormatBool(paid) })}}},
		{name: "zero-for-null", in: 10, noise: []change{{do: add("discount", nil)}}, wrong: []change{
			{key: "$.discount", relation: "number, not null", alone: compare.Real, do: add("discount", 0)}}},
		{name: "null-for-what-is-missing", in: 10, wrong: []change{
			{key: "$.iban", relation: "added", alone: compare.Real, do: add("iban", nil)}}},
		{name: "null-for-an-empty-list", in: 10, noise: []change{{do: add("attachments", []any{})}}, wrong: []change{
			{key: "$.attachments", relation: "null", alone: compare.Real, do: set("attachments", func([]any) any { return nil })}}},
		{name: "empty-list-for-null", in: 10, noise: []change{{do: add("attachments", nil)}}, wrong: []change{
			{key: "$.attachments", relation: "array, not null", alone: compare.Real, do: add("attachments", []any{})}}},
		{name: "due-date-lost", in: 10, wrong: []change{
			{key: "$.due", relation: "missing", alone: compare.Real, do: remove("due")}}},
		{name: "password-given-away", wrong: []change{
			{key: "$.customer.passwordHash", relation: "added", alone: compare.Real, do: func(s *instance, a *reply) string {
				a.body.(object)["customer"].(object)["passwordHash"] = s.uuid()
				return "added"
			}}}},

		// Lists.
		{name: "last-line-lost", in: 12, wrong: []change{
			{key: "$.lines[*]", relation: "missing", alone: compare.Real, do: lines(func(all []any) []any { return all[:len(all)-1] })}}},
		{name: "last-line-always-lost", wrong: []change{
			{key: "$.lines[*]", relation: "missing", alone: compare.Real, do: lines(func(all []any) []any { return all[:len(all)-1] })}}},
		{name: "line-twice", in: 12, wrong: []change{
			{key: "$.lines[*]", relation: "added", alone: compare.Real, do: lines(func(all []any) []any { return slices.Insert(slices.Clone(all), 1, all[0]) })}}},
		{name: "line-in-front", in: 12, wrong: []change{
			{key: "$.lines[*]", relation: "added", alone: compare.Real, do: lines(func(all []any) []any {
				return slices.Insert(slices.Clone(all), 0, any(object{"sku": "A-9999", "text": "Handling fee", "quantity": 1, "price": money(500), "rate": 19, "net": money(500), "vat": money(95)}))
			})}}},
		{name: "lines-turned-round", in: 12, wrong: []change{
			{key: "$.lines", relation: "order", alone: compare.Real, do: lines(turned)}}},
		{name: "lines-always-turned-round", wrong: []change{
			{key: "$.lines", relation: "order", alone: suspect, do: lines(turned)}}},
		{name: "last-line-lost-amid-new-identifiers", ask: twice(invoices), in: 12, noise: []change{numbered}, wrong: []change{
			{key: "$.lines[*]", relation: "missing", alone: compare.Real, do: lines(func(all []any) []any { return all[:len(all)-1] })}}},
		{name: "first-line-lost-amid-new-identifiers", ask: twice(invoices), in: 12, noise: []change{numbered}, wrong: []change{
			{key: "$.lines[*]", relation: "missing", alone: compare.Real, do: lines(func(all []any) []any { return all[1:] })}}},
		{name: "off-by-a-page", ask: pages, wrong: []change{
			{key: "$.items[*].number", alone: suspect, do: func(s *instance, a *reply) string { return another(a, s.book.page(a.no + 1)["items"]) }},
			{key: "$.items[*].customer", alone: suspect, do: func(*instance, *reply) string { return "another" }},
			{key: "$.items[*].total", alone: suspect, do: func(*instance, *reply) string { return "another" }}}},
		{name: "pages-overlap", ask: pages, in: 20, wrong: []change{
			{key: "$.items[*]", alone: compare.Real, do: func(s *instance, a *reply) string {
				items := a.body.(object)["items"].([]any)
				return another(a, append([]any{s.book.listed(a.no*itemsOfAPage - 1)}, items[:itemsOfAPage-1]...))
			}}}},
		{name: "forgets-paging", ask: pages, in: 12, compare: testbed.Values{"maxBodySize": "2KiB"}, wrong: []change{
			{key: "body", relation: "longer than compare.maxBodySize", alone: compare.Real, do: func(s *instance, a *reply) string {
				var items []any
				for k := range 8 {
					items = append(items, s.book.page(k)["items"].([]any)...)
				}
				return another(a, items)
			}}}},

		// What belongs to others.
		{name: "another-customer-s-invoice", in: 12, wrong: []change{
			{key: "$.customer.number", alone: compare.Real, do: set("customer.number", func(n int) any { return n + 1 })}}},
		{name: "stale-cache", in: 12, noise: []change{{do: add("revision", 7)}, {do: add("state", "sent")}}, wrong: []change{
			{key: "$.revision", relation: "−1", alone: compare.Real, do: set("revision", func(n int) any { return n - 1 })},
			{key: "$.state", alone: compare.Real, do: set("state", func(string) any { return "draft" })}}},
		{name: "another-s-draft", n: 200, then: 40, in: 12, at: func(i int) bool { return i >= 200 },
			ask: func(i int) request {
				if i < 200 {
					return drafts(i)
				}
				return accounts(i - 200)
			},
			noise: []change{
				{key: "$.id", alone: compare.Noise, do: to("/drafts", ownDraft)},
				{key: "$.draft", alone: suspect, controlled: harmless, do: to("/accounts", func(s *instance, a *reply) string {
					a.body.(object)["draft"] = s.id(a.no)
					return s.id(a.no)
				})}},
			wrong: []change{{key: "$.draft", relation: "of another", alone: compare.Real, controlled: suspect, do: to("/accounts", func(s *instance, a *reply) string {
				a.body.(object)["draft"] = s.id(a.no + 100)
				return "another's"
			})}}},
		{name: "drafts-given-twice", ask: drafts, n: 150, then: 25, at: func(i int) bool { return i >= 150 },
			noise: []change{{key: "$.id", alone: compare.Noise, do: ownDraft}},
			wrong: []change{{key: "$.id", relation: "of another", alone: suspect, controlled: suspect, do: func(s *instance, a *reply) string {
				a.body.(object)["id"] = s.id(a.no - 150)
				return "another's"
			}}}},

		// Headers.
		{name: "wrong-content-type", wrong: []change{
			{key: "header Content-Type", alone: compare.Real, do: header("Content-Type", "text/plain")}}},
		{name: "location-lost", ask: drafts, in: 12, noise: created, wrong: []change{
			{key: "header Location", relation: "missing", alone: compare.Real, do: header("Location", "")}}},
		{name: "location-of-the-inside", ask: deletions, noise: []change{{do: func(_ *instance, a *reply) string {
			a.header.Set("Location", fmt.Sprint("https://billing.example.com/archive/", a.no))
			return ""
		}}}, wrong: []change{
			{key: "header Location", alone: compare.Undecided, do: func(_ *instance, a *reply) string {
				a.header.Set("Location", fmt.Sprint("http://10.2.3.4:8080/archive/", a.no))
				return "inside"
			}}}},
		{name: "location-in-another-collection", ask: drafts, noise: created, wrong: []change{
			{key: "header Location", alone: suspect, controlled: suspect, do: func(s *instance, a *reply) string {
				a.header.Set("Location", "/invoices/"+s.id(a.no))
				return "elsewhere"
			}}}},
		{name: "location-of-another-draft", ask: drafts, n: 130, then: 20, in: 12, at: func(i int) bool { return i >= 130 }, noise: created, wrong: []change{
			{key: "header Location", relation: "of another", alone: compare.Real, controlled: suspect, do: func(s *instance, a *reply) string {
				a.header.Set("Location", "/drafts/"+s.id(a.no-130))
				return "another's"
			}}}},
		{name: "cookie-without-flags", noise: []change{{do: cookie("; Path=/; HttpOnly; Secure; SameSite=Lax")}}, wrong: []change{
			{key: "cookie session", alone: compare.Real, do: cookie("; Path=/")}}},
		{name: "public-cache", noise: []change{{do: header("Cache-Control", "private, no-store")}}, wrong: []change{
			{key: "header Cache-Control", alone: compare.Real, do: header("Cache-Control", "public, max-age=3600")}}},
		{name: "allowed-for-all-origins", in: 12, noise: []change{{do: header("Access-Control-Allow-Origin", "https://shop.example.com")}}, wrong: []change{
			{key: "header Access-Control-Allow-Origin", alone: compare.Real, do: header("Access-Control-Allow-Origin", "*")}}},
		{name: "cookie-lost", in: 12, noise: []change{{do: cookie("; Path=/; HttpOnly")}}, wrong: []change{
			{key: "cookie session", relation: "missing", alone: compare.Real, do: header("Set-Cookie", "")}}},
		{name: "file-name-lost", ask: exports, in: 12, noise: []change{{do: header("Content-Disposition", `attachment; filename="invoices.csv"`)}}, wrong: []change{
			{key: "header Content-Disposition", alone: compare.Real, do: header("Content-Disposition", "attachment")}}},
		{name: "next-page-off", ask: pages, in: 12, noise: []change{{do: nextPage(1)}}, wrong: []change{
			{key: "header Link", alone: compare.Real, do: nextPage(2)}}},
		{name: "retry-after-lost", in: 12, noise: []change{{do: withStatus(429, `{"title":"too many requests"}`)}, {do: header("Retry-After", "30")}}, wrong: []change{
			{key: "header Retry-After", relation: "missing", alone: compare.Real, do: header("Retry-After", "")}}},
		{name: "heads-of-another-type", ask: heads, in: 12, wrong: []change{
			{key: "header Content-Type", alone: compare.Real, do: header("Content-Type", "text/html")}}},
		{name: "vary-lost", in: 12, noise: []change{{do: header("Vary", "Accept-Language")}}, wrong: []change{
			{key: "header Vary", relation: "missing", alone: compare.Real, do: header("Vary", "")}}},

		// Statuses, and no answer.
		{name: "204-for-200", ask: deletions, wrong: []change{
			{key: "status", relation: "200/204", alone: compare.Real, do: withStatus(204, "")}}},
		{name: "not-found-now-and-then", in: 12, wrong: []change{
			{key: "status", relation: "200/404", alone: compare.Real, do: withStatus(404, `{"title":"no such invoice"}`)}}},
		{name: "found-what-is-not-there", at: later, old: []change{{do: func(s *instance, a *reply) string {
			if later(a.i) {
				withStatus(404, `{"title":"no such invoice"}`)(s, a)
			}
			return ""
		}}}, wrong: []change{{key: "status", relation: "404/200", alone: compare.Real, do: func(*instance, *reply) string { return "200" }}}},
		{name: "error-in-3-percent", n: 400, in: 12, wrong: []change{
			{key: "status", relation: "200/500", alone: compare.Real, do: withStatus(500, "no such table: invoices")}}},
		{name: "closes-in-3-percent", n: 400, in: 12, wrong: []change{
			{key: "status", relation: "no answer", alone: compare.Real, do: instead(hangUp)}}},
		{name: "breaks-off-in-3-percent", n: 400, in: 12, wrong: []change{
			{key: "status", relation: "no answer", alone: compare.Real, do: instead(abort)}}},
		{name: "empty-answers", in: 12, wrong: []change{
			{key: "body", relation: "missing", alone: compare.Real, do: func(_ *instance, a *reply) string { a.body = ""; return "empty" }}}},
		{name: "stack-trace-for-a-problem", in: 12, noise: []change{{do: withStatus(422, `{"title":"no such customer"}`)}}, wrong: []change{
			{key: "$.trace", relation: "added", alone: compare.Real, do: withStatus(422, `{"title":"no such customer","trace":"at billing.Invoices.create(Invoices.java:4711)"}`)}}},
		{name: "gzip-that-is-none", in: 12, wrong: []change{
			{key: "body", alone: compare.Real, do: header("Content-Encoding", "gzip")}}},
		{name: "wrong-where-seldom-asked", n: 300, at: every(25), ask: func(i int) request {
			if i%25 == 0 {
				r := customers(i)
				r.endpoint = "GET /*/*" // a word that was seen so seldom may be a customer's
				return r
			}
			return invoices(i)
		}, wrong: []change{{key: "$.name", relation: "case", alone: suspect, controlled: suspect, do: set("name", func(text string) any { return strings.ToUpper(text) })}}},

		// Other formats.
		{name: "xml-total-rounded", ask: documents, in: 12, wrong: []change{
			{key: "$.invoice.total.#text", alone: compare.Real, do: rewritten(func(xml string) string { return strings.Replace(xml, "</total>", "1</total>", 1) })}}},
		{name: "csv-column-off", ask: exports, in: 12, wrong: []change{
			{key: "$[*].customer", relation: "", alone: compare.Real, do: rewritten(func(csv string) string { return strings.Replace(csv, ";1", ";2", 1) })}}},
		{name: "csv-row-lost", ask: exports, in: 12, wrong: []change{
			{key: "$[*]", relation: "missing", alone: compare.Real, do: rewritten(func(csv string) string { return csv[:strings.LastIndex(strings.TrimSpace(csv), "\n")+1] })}}},
		{name: "ledger-entry-off", ask: ledgers, in: 12, wrong: []change{
			{key: "$[*].total", relation: "+0.01", alone: compare.Real, do: func(_ *instance, a *reply) string {
				all := a.body.([]any)
				all[3].(object)["total"] = all[3].(object)["total"].(money) + 1
				return "off"
			}}}},

		// GraphQL: one operation of four is wrong, and each answer has an identifier.
		{name: "graphql-total-off", ask: queries, n: 240, in: 12, at: func(i int) bool { return i%4 == 0 }, noise: []change{requestID}, wrong: []change{
			{key: "$.data.invoice.total", relation: "+1", alone: compare.Real, do: set("data.invoice.total", func(m money) any { return m + 100 })}}},
		{name: "graphql-null-and-errors", ask: queries, n: 240, in: 12, at: func(i int) bool { return i%4 == 1 }, noise: []change{requestID}, wrong: []change{
			{key: "$.data.invoice", relation: "null", alone: compare.Real, do: set("data.invoice", func(object) any { return nil })},
			{key: "$.errors", relation: "added", alone: compare.Real, do: add("errors", []any{object{"message": "context deadline exceeded"}})}}},

		// Amid noise.
		{name: "total-off-amid-noise", ask: twice(invoices), in: 12, noise: []change{traceID, servedAt}, wrong: []change{
			{key: "$.total", relation: "+0.01", alone: compare.Real, do: set("total", func(m money) any { return m + 1 })}}},
		{name: "made-for-all-the-same", ask: twice(invoices), noise: []change{traceID}, wrong: []change{
			{key: "$.traceId", alone: suspect, controlled: suspect, do: set("traceId", func(string) any { return "00000000-0000-0000-0000-000000000000" })}}},
		{name: "code-always-the-same", noise: []change{{key: "$.code", alone: compare.Undecided, do: fresh("code", oneTimeCode)}}, wrong: []change{
			{key: "$.code", alone: suspect, controlled: suspect, do: add("code", 123456)}}},
		{name: "banner-always-the-same", noise: []change{{key: "$.banner", alone: suspect, controlled: harmless, do: fresh("banner", func(s *instance) any { return s.chance(6) })}}, wrong: []change{
			{key: "$.banner", alone: suspect, controlled: suspect, do: add("banner", 7)}}},
		{name: "created-when-the-service-was", ask: drafts, noise: []change{{key: "$.created", alone: compare.Noise, do: fresh("created", zoneless(0))}}, wrong: []change{
			{key: "$.created", alone: suspect, controlled: suspect, do: add("created", zoneless(-3*time.Second)(&instance{random: rand.New(rand.NewPCG(0, 0))}))}}},

		// The control is no help.
		{name: "down-with-the-control", swapped: true, in: 14, wrong: []change{
			{key: "status", relation: "200/503", alone: compare.Real, controlled: suspect, do: withStatus(503, "busy")}}},
		{name: "control-with-the-data-of-another-day", in: 12, witness: []change{{do: set("total", func(m money) any { return m + 4711 })}}, wrong: []change{
			{key: "$.total", relation: "+0.01", alone: compare.Real, controlled: suspect, do: set("total", func(m money) any { return m + 1 })}}},
		{name: "total-off-and-a-control-that-is-down", in: 12, witness: []change{{do: instead(hangUp)}}, wrong: []change{
			{key: "$.total", relation: "+0.01", alone: compare.Real, do: set("total", func(m money) any { return m + 1 })}}},
		{name: "control-of-the-new-version", swapped: true, in: 12, wrong: []change{
			{key: "$.total", relation: "+0.01", alone: compare.Real, controlled: compare.Undecided, do: set("total", func(m money) any { return m + 1 })}}},
	}
}

// What two right versions do each in its own way.
func right() []*release {
	return []*release{
		{name: "no-mistake"},
		{name: "drafts-made-anew", ask: drafts, noise: []change{{key: "$.id", alone: compare.Noise, do: ownDraft}}},
		{name: "drafts-and-where-they-are", ask: drafts, noise: created},
		{name: "drafts-that-name-themselves", ask: drafts, noise: append(created, change{key: "$.lines[*].draft", alone: compare.Noise, do: func(s *instance, a *reply) string {
			a.body.(object)["lines"] = []any{object{"sku": "A-1001", "draft": s.id(a.no)}, object{"sku": "A-1002", "draft": s.id(a.no)}}
			return s.id(a.no)
		}})},
		{name: "trace-ids", noise: []change{undecidedAlone(traceID)}},
		{name: "trace-ids-of-what-is-asked-twice", ask: twice(invoices), noise: []change{traceID}},
		{name: "trace-ids-in-some-answers", noise: []change{{key: "$.traceId", alone: compare.Undecided, do: func(s *instance, a *reply) string {
			if a.i%10 != 0 {
				return ""
			}
			return traceID.do(s, a)
		}}}},
		{name: "time-in-seconds", noise: []change{undecidedAlone(servedAt)}},
		{name: "time-in-seconds-of-what-is-asked-twice", ask: twice(invoices), noise: []change{servedAt}},
		{name: "time-in-milliseconds", noise: []change{{key: "$.servedAt", alone: compare.Undecided, do: fresh("servedAt", func(s *instance) any {
			return time.Now().Add(time.Duration(s.chance(1e9))).Format("2006-01-02T15:04:05.000Z07:00")
		})}}},
		{name: "offer-expires-in-30-days", noise: []change{{key: "$.expires", alone: suspect, controlled: harmless, do: fresh("expires", inDays(30))}}},
		{name: "drawn-by-lot", noise: []change{{key: "$.banner", alone: suspect, controlled: harmless, do: fresh("banner", func(s *instance) any { return s.chance(6) })}}},
		{name: "one-time-code", noise: []change{{key: "$.code", alone: compare.Undecided, do: fresh("code", oneTimeCode)}}},
		{name: "set-in-any-order", noise: []change{anyOrder}},
		{name: "set-in-any-order-that-is-told", compare: testbed.Values{"unordered": "$.lines"}, noise: []change{{do: anyOrder.do}}},
		{name: "problems-with-an-instance", ask: notFound, noise: []change{{key: "$.instance", alone: compare.Undecided, do: func(s *instance, a *reply) string {
			a.status = http.StatusNotFound
			a.header.Set("Content-Type", "application/problem+json")
			id := "urn:uuid:" + s.uuid()
			a.body = object{"type": "about:blank", "title": "no such invoice", "status": 404, "instance": id}
			return id
		}}}},
		{name: "graphql-with-request-ids", ask: queries, n: 240, noise: []change{requestID}},
		{name: "xml-with-a-time", ask: documents, noise: []change{{key: "$.invoice.served", alone: compare.Undecided, do: func(s *instance, a *reply) string {
			at := time.Now().Add(time.Duration(s.chance(1e9))).Format(time.RFC3339Nano)
			a.body = strings.Replace(a.body.(string), "</invoice>", "<served>"+at+"</served></invoice>", 1)
			return at
		}}}},

		// What is written in another way.
		{name: "members-in-another-order", other: []change{{do: func(_ *instance, a *reply) string { a.write = backwards; return "" }}}},
		{name: "byte-order-mark", old: []change{{do: func(_ *instance, a *reply) string { a.write = backwards; return "" }}}, other: []change{{do: coded(func(text []byte) []byte {
			return append([]byte("\ufeff"), text...)
		})}}},
		{name: "escaped-otherwise", ask: customers, other: []change{{do: coded(escapedUnicode)}}},
		{name: "floats-written-otherwise", other: []change{{do: set("total", func(m money) any { return asIs(fmt.Sprintf("%d.%02d0e0", m/100, m%100)) })},
			{do: set("positions", func(n int) any { return asIs(fmt.Sprintf("%d.0", n)) })}}},
		{name: "not-a-number-on-either-side", noise: []change{{do: add("quota", notANumber)}}, other: []change{{do: func(_ *instance, a *reply) string { a.write = backwards; return "" }}}},
		{name: "gzip", other: []change{{do: zipped}}},
		{name: "in-chunks", other: []change{{do: func(_ *instance, a *reply) string {
			a.does = func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				text := a.write(a.body)
				for len(text) > 0 {
					n := min(100, len(text))
					rw.Write(text[:n])
					http.NewResponseController(rw).Flush()
					text = text[n:]
				}
			}
			return ""
		}}}},
		{name: "other-headers", noise: []change{{do: func(s *instance, a *reply) string {
			a.header.Set("Server", "billing/"+s.name)
			a.header.Set("X-Request-Id", s.uuid())
			a.header.Set("X-Runtime", fmt.Sprint(s.chance(1000)))
			a.header.Set("Etag", strconv.Quote(s.uuid()))
			a.header.Set("Last-Modified", time.Now().Add(-time.Duration(s.chance(1000))*time.Second).UTC().Format(http.TimeFormat))
			return ""
		}}}, old: []change{{do: header("Cache-Control", "private, no-store")}, {do: header("Vary", "Accept, Accept-Language")}},
			other: []change{{do: header("Cache-Control", "no-store,private")}, {do: header("Vary", "accept-language,Accept")}, {do: header("Content-Type", "application/json;charset=UTF-8")}}},
		{name: "weak-etags", old: []change{{do: header("Etag", `"4711"`)}}, other: []change{{do: header("Etag", `W/"4711"`)}}},
		{name: "sessions", noise: []change{{do: func(s *instance, a *reply) string {
			return cookie("; Path=/; HttpOnly; Expires="+time.Now().Add(time.Duration(s.chance(100))*time.Second).UTC().Format(http.TimeFormat))(s, a)
		}}}},
		{name: "json-of-old", noise: []change{{do: header("Content-Type", "text/json")}}, other: []change{{do: func(_ *instance, a *reply) string { a.write = backwards; return "" }}}},
		{name: "csv-with-other-line-ends", ask: exports, other: []change{{do: rewritten(func(csv string) string { return strings.ReplaceAll(csv, "\n", "\r\n") })}}},
		{name: "xml-with-white-space", ask: documents, other: []change{{do: rewritten(func(xml string) string {
			return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + strings.ReplaceAll(xml, "><", ">\n  <")
		})}}},
		{name: "ledgers-written-otherwise", ask: ledgers, other: []change{{do: coded(func(text []byte) []byte {
			return bytes.ReplaceAll(text, []byte(`":`), []byte(`" : `))
		})}}},

		// What is asked in another way.
		{name: "heads", ask: heads},
		{name: "copies-that-are-good", n: 240, ask: with(invoices, "If-None-Match", `"4711"`), noise: []change{{do: header("Etag", `"4711"`)}},
			old: []change{{do: func(s *instance, a *reply) string {
				if a.i%2 == 0 {
					return ""
				}
				a.status = http.StatusNotModified
				return ""
			}}}, other: []change{{skipped: compare.Conditional, do: func(_ *instance, a *reply) string {
				if a.i%2 == 0 {
					return ""
				}
				return "200"
			}}}},
		{name: "errors-on-either-side", noise: []change{{do: func(s *instance, a *reply) string {
			if a.i%7 == 0 {
				return withStatus(503, `{"title":"busy"}`)(s, a)
			}
			return ""
		}}}},
		{name: "control-that-is-down", ask: twice(invoices), noise: []change{traceID}, witness: []change{{do: instead(hangUp)}}},
		{name: "control-that-is-busy-now-and-then", ask: twice(invoices), noise: []change{traceID}, witness: []change{{do: func(s *instance, a *reply) string {
			if a.i%5 == 0 {
				return withStatus(503, "busy")(s, a)
			}
			return ""
		}}}},
		{name: "streams-and-clients-that-leave", n: 240, ask: inTurn(
			func(i int) request {
				return request{target: fmt.Sprint("/events/", i), endpoint: "GET /events/*", header: http.Header{"Accept": {"text/event-stream"}}}
			},
			func(i int) request {
				return request{target: fmt.Sprint("/reports/", i), endpoint: "GET /reports/*", leaves: true}
			}, invoices, invoices),
			noise: []change{{do: to("/events", instead(events))}}, old: []change{{do: to("/reports", instead(half))}},
			skipped: map[string]int64{"GET /events/* stream": 60, "GET /reports/* live_broken": 60}},
	}
}

// Where too little was seen, or something was not.
func unseen() []*release {
	return []*release{
		{name: "answers-too-large", n: 200, ask: inTurn(invoices, exports), compare: testbed.Values{"maxBodySize": "3KiB"}, state: compare.StateUndecided,
			reasons: []string{"GET /exports/*: never compared (too_large)"},
			noise: []change{{skipped: compare.TooLarge, do: to("/exports", func(s *instance, a *reply) string {
				a.body = a.body.(string) + strings.Repeat("2026-999999;10001;0.00\n", 200) + s.uuid()
				return s.uuid()
			})}}},
		{name: "uploads-too-large", n: 200, ask: inTurn(invoices, scans(4000)), mirror: testbed.Values{"maxBodySize": "2KiB"}, state: compare.StateUndecided,
			reasons: []string{"PUT /scans/*: never compared (too_large)"}, dropped: map[string]int64{"PUT /scans/* too_large": 100}},
		{name: "brotli", n: 240, ask: inTurn(invoices, customers), state: compare.StateUndecided, reasons: []string{"GET /customers/*: never compared (encoding)"},
			other: []change{{skipped: compare.Encoding, do: to("/customers", func(s *instance, a *reply) string {
				a.header.Set("Content-Encoding", "br")
				return "not read"
			})}}},
		{name: "too-early", n: 12, in: 6, state: compare.StateEarly, reasons: []string{"12 of 100 pairs that it takes"}, ask: func(i int) request {
			r := invoices(i)
			r.endpoint = "GET /*/*" // a word that was seen so seldom may be a customer's
			return r
		}, wrong: []change{{key: "status", relation: "200/404", alone: compare.Real, do: withStatus(404, "no such invoice")}}},
		{name: "too-early-at-an-endpoint", n: 120, state: compare.StateEarly, reasons: []string{"POST /*: 12 of 20 requests that it takes"}, ask: func(i int) request {
			if i%10 != 0 {
				return invoices(i)
			}
			r := drafts(i)
			r.endpoint = "POST /*"
			return r
		}},
	}
}

// What each instance makes anew.
var (
	traceID = change{key: "$.traceId", alone: compare.Noise, do: fresh("traceId", func(s *instance) any { return s.uuid() })}

	servedAt = change{key: "$.servedAt", alone: harmless, controlled: harmless, do: fresh("servedAt", inDays(0))}

	numbered = change{key: "$.lines[*].id", alone: compare.Noise, do: func(s *instance, a *reply) string {
		for _, l := range a.body.(object)["lines"].([]any) {
			l.(object)["id"] = s.uuid()
		}
		return s.uuid()
	}}

	requestID = change{key: "$.extensions.requestId", alone: compare.Noise, do: fresh("extensions", func(s *instance) any { return object{"requestId": s.uuid()} })}

	anyOrder = change{key: "$.lines", relation: "order", alone: suspect, controlled: harmless, do: func(s *instance, a *reply) string {
		list := a.body.(object)["lines"].([]any)
		for i := range list {
			k := i + s.chance(len(list)-i)
			list[i], list[k] = list[k], list[i]
		}
		return string(written(list))
	}}

	created = []change{{key: "$.id", alone: compare.Noise, do: ownDraft}, {key: "header Location", alone: compare.Noise, do: func(s *instance, a *reply) string {
		a.header.Set("Location", "/drafts/"+s.id(a.no))
		return s.id(a.no)
	}}}
)

func undecidedAlone(c change) change {
	c.alone = compare.Undecided
	return c
}

// ownDraft gives a draft an identifier.
func ownDraft(s *instance, a *reply) string {
	if a.method != "POST" {
		return ""
	}
	a.body.(object)["id"] = s.id(a.no)
	return s.id(a.no)
}

// nextPage says where the page is that is so many further on.
func nextPage(further int) edit {
	return func(_ *instance, a *reply) string {
		a.header.Set("Link", fmt.Sprintf(`</invoices?page=%d>; rel="next"`, a.no+further))
		return fmt.Sprint(further)
	}
}

func unixTime(s *instance) any { return time.Now().Unix() + int64(s.chance(2)) }

// zoneless is the time of day somewhere, without saying where.
func zoneless(east time.Duration) func(*instance) any {
	return func(s *instance) any {
		return time.Now().UTC().Add(east + time.Duration(s.chance(1e9))).Format("2006-01-02T15:04:05.000")
	}
}

func oneTimeCode(s *instance) any { return 100000 + s.chance(900000) }

// later are some requests that come when the service's endpoints are known.
func later(i int) bool { return i >= 60 && i%6 == 0 }

// notFound asks for invoices that there are not. They make no endpoint.
func notFound(i int) request {
	r := invoices(i)
	r.endpoint = "(not found)"
	return r
}
