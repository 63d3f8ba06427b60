package report

import (
	"fmt"
	"testing"
)

func TestLossesAreOneFigure(t *testing.T) {
	tests := []struct {
		name            string
		mirrored        int64
		dropped, failed map[string]int64
		want            string
		lost, eligible  int64
	}{
		{"nothing", 0, nil, nil, "0 of 0 lost", 0, 0},
		{"all is well", 1200, nil, nil, "0 of 1,200 lost", 0, 1200},
		{"the shadow was down for a while", 360, map[string]int64{"paused": 49, "too_large": 1}, map[string]int64{"timeout": 11},
			"61 of 421 lost (49 paused, 11 timeout, 1 too_large)", 61, 421},
		{"as many of one as of another", 0, map[string]int64{"full": 2, "paused": 2}, map[string]int64{"connect": 2}, "6 of 6 lost (2 full, 2 paused, 2 connect)", 6, 6},
		{"what is not to be mirrored is not lost", 10,
			map[string]int64{"method": 1000, "upgrade": 2000, "connect_method": 3000, "grpc": 4000, "marked": 5000, "sampling": 90}, nil, "0 of 10 lost", 0, 100},
		{"every loss", 1,
			map[string]int64{"full": 1, "paused": 2, "too_large": 4, "body_error": 8, "stream_incomplete": 16},
			map[string]int64{"connect": 32, "timeout": 64, "tls": 128, "protocol": 256, "late": 512, "internal": 1024},
			"2,047 of 2,048 lost (1,024 internal, 512 late, 256 protocol, 128 tls, 64 timeout, 32 connect, 16 stream_incomplete, 8 body_error, 4 too_large, 2 paused, 1 full)", 2047, 2048},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &Middleware{Mirrored: tt.mirrored, Dropped: tt.dropped, Failed: tt.failed}
			m.AddLosses()
			if got := Losses(m.Mirrored, m.Lost, Count); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if m.LostTotal != tt.lost || m.Eligible != tt.eligible || len(m.Lost) != 11 {
				t.Errorf("%d lost, %d eligible, %d reasons; want %d, %d and 11", m.LostTotal, m.Eligible, len(m.Lost), tt.lost, tt.eligible)
			}
			if l := newListedView(m, newLook(documentOf(m), nil)); l.Lost != tt.want {
				t.Errorf("the page says %q, want %q", l.Lost, tt.want)
			}
		})
	}
}

func TestLossesAreAMetricOfTheirOwn(t *testing.T) {
	m := reports()
	m.Dropped = map[string]int64{"sampling": 90, "marked": 5, "paused": 49, "too_large": 1}
	m.Failed = map[string]int64{"timeout": 11}
	m.AddLosses()
	values, _ := exposed(t, documentOf(m))
	want := map[string]string{"paused": "49", "too_large": "1", "timeout": "11"}
	found := 0
	for _, r := range Reasons {
		value, is := values[fmt.Sprintf(`mirror_lost_requests_total{middleware="shadow-reports@file",reason="%s"}`, r.Word)]
		wanted := want[r.Word]
		if wanted == "" && r.Lost() {
			wanted = "0"
		}
		if value != wanted {
			t.Errorf("%s: got %q (%t), want %q", r.Word, value, is, wanted)
		}
		if is {
			found++
		}
	}
	if found != 11 {
		t.Errorf("%d reasons, want 11", found)
	}
}
