package report

import (
	"sort"
	"strings"
)

// A Reason is why a request was not mirrored. Its word is the same in the log, the
// metrics, report.json, the page and the documentation, and each word is one reason.
type Reason struct {
	Word    string
	Meaning string // in one sentence
	Remedy  string // what to do
	Fate    Fate
}

// A Fate is what became of a request that was not mirrored.
type Fate string

const (
	Unfit    Fate = "unfit"    // it cannot be mirrored, or is not one of those to mirror: no loss
	Unchosen Fate = "unchosen" // it is not in the share to mirror: no loss
	Dropped  Fate = "dropped"  // it was to be mirrored, and no copy was sent: lost
	Failed   Fate = "failed"   // its copy got no whole answer: lost
)

// Lost reports whether a request that was to be mirrored was not.
func (r *Reason) Lost() bool { return r.Fate == Dropped || r.Fate == Failed }

// The kinds of failure.
const (
	Connect  = "connect"
	Timeout  = "timeout"
	TLS      = "tls"
	Protocol = "protocol"
	Late     = "late"
	Internal = "internal"
)

// Reasons are all of them, in the order in which reports have them.
var Reasons = []*Reason{
	{"method", "The method is not among methods.", "Nothing, if it was left out on purpose.", Unfit},
	{"upgrade", "The request asks to leave HTTP, as WebSocket does.", "Nothing: there is no copy of a conversation.", Unfit},
	{"connect_method", "The method is CONNECT.", "Nothing: a tunnel cannot be copied.", Unfit},
	{"grpc", "It is a gRPC call, whose messages may wait for one another.", "Set bodyMode: stream to mirror it.", Unfit},
	{"duplex", "It speaks a protocol that answers before the request's body ends, such as a streaming call of Connect.", "Set bodyMode: stream to mirror it.", Unfit},
	{"marked", "It has X-Mirrored-By, so it is a copy itself, or a client says so.", "Take the header from clients that send it.", Unfit},
	{"loop", "It is a copy that has come back to the middleware that made it, and was answered 508: url leads to the live router.", "Set url to the shadow's own address.", Unfit},
	{"sampling", "It is not in the share that percent takes.", "Raise percent to mirror more.", Unchosen},
	{"rate", "As many copies as maxRate were sent within the last second.", "Raise maxRate to mirror more.", Unchosen},
	{"full", "As many copies as maxInFlight were under way, or half as many with one value of sequenceBy: the shadow does not keep up.", "Give the shadow more room, raise maxInFlight, or lower percent.", Dropped},
	{"paused", "The shadow kept failing and was left alone.", "See to what the last error says; mirroring goes on by itself.", Dropped},
	{"too_large", "The body is larger than maxBodySize.", "Raise maxBodySize, if there is memory for it, or set mirrorBody: false.", Dropped},
	{"body_error", "The client's body could not be read, so live did not get it whole either.", "Look at the clients, and at middlewares before the mirror.", Dropped},
	{"stream_incomplete", "Live did not read the body to its end, and bodyMode is stream.", "Nothing if live refuses early on purpose; else set bodyMode: buffer.", Dropped},
	{Connect, "There was no connection: refused, out of reach, or the host's name is not known.", "Check url, and whether Traefik reaches that host.", Failed},
	{Timeout, "There was no whole answer within timeout.", "Make the shadow faster, or raise timeout.", Failed},
	{TLS, "There was no agreement on TLS, or the shadow's certificate is not trusted.", "Set tls.rootCAs or tls.serverName, or renew the certificate.", Failed},
	{Protocol, "The connection broke, or what came is no whole HTTP answer.", "Look at the shadow's log: it crashed, restarted, or speaks something else.", Failed},
	{Late, "The options changed while the request was on its way to the mirror.", "Nothing: it goes with a reload.", Failed},
	{Internal, "The plugin made a mistake.", "Please report it, with the line in the log.", Failed},
}

// The words of the reasons, in the order in which reports have them.
var (
	DropReasons  []string // no copy was sent, lost or not
	FailureKinds []string // the copy got no whole answer
	LossReasons  []string // a request that was to be mirrored was not

	reasonOf = map[string]*Reason{}
)

func init() {
	for _, r := range Reasons {
		reasonOf[r.Word] = r
		if r.Fate == Failed {
			FailureKinds = append(FailureKinds, r.Word)
		} else {
			DropReasons = append(DropReasons, r.Word)
		}
		if r.Lost() {
			LossReasons = append(LossReasons, r.Word)
		}
	}
}

// AddLosses fills in what is worked out of the other counts: what was lost, and how many
// requests could be mirrored.
func (m *Middleware) AddLosses() {
	m.Lost = map[string]int64{}
	m.LostTotal = 0
	m.Eligible = m.Mirrored
	for _, r := range Reasons {
		if r.Lost() {
			m.Lost[r.Word] = m.Dropped[r.Word] + m.Failed[r.Word]
			m.LostTotal += m.Lost[r.Word]
			m.Eligible += m.Lost[r.Word]
		}
		if r.Fate == Unchosen {
			m.Eligible += m.Dropped[r.Word]
		}
	}
}

// Losses says what was lost of the requests that were to be mirrored, as the log and the
// page do: 61 of 421 lost (49 paused, 11 timeout, 1 too_large). Numbers are written as
// number does.
func Losses(mirrored int64, lost map[string]int64, number func(int64) string) string {
	var words []string
	for _, word := range LossReasons {
		if lost[word] > 0 {
			words = append(words, word)
		}
	}
	sort.SliceStable(words, func(i, j int) bool { return lost[words[i]] > lost[words[j]] })
	all := mirrored + total(lost)
	text := number(total(lost)) + " of " + number(all) + " lost"
	if len(words) == 0 {
		return text
	}
	for i, word := range words {
		words[i] = number(lost[word]) + " " + word
	}
	return text + " (" + strings.Join(words, ", ") + ")"
}
