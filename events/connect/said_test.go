package connect

import (
	"fmt"
	"testing"
	"time"
)

func TestATroubleIsSaidWhenItChangesAndNotTooOften(t *testing.T) {
	var s Said
	for i, step := range []struct {
		at   time.Duration
		text string
		want bool
	}{
		{0, "refused", true},
		{time.Second, "refused", false},
		{2 * time.Second, "no such host", false}, // too soon
		{time.Minute, "no such host", true},
		{time.Hour, "no such host", false}, // nothing new
		{2 * time.Hour, "read tcp 10.0.0.1:40001->10.0.0.2:8080: reset", true},
		{3 * time.Hour, "read tcp 10.0.0.1:40002->10.0.0.2:8080: reset", false}, // only the port differs
		{4 * time.Hour, "read tcp 10.0.0.1:40003->10.0.0.3:8080: reset", true},
	} {
		if got := s.New(step.text, time.Unix(0, 0).Add(step.at)); got != step.want {
			t.Errorf("step %d, %q: %v, want %v", i, step.text, got, step.want)
		}
	}
	s.Over()
	if !s.New("read tcp 10.0.0.1:40003->10.0.0.3:8080: reset", time.Unix(0, 0).Add(4*time.Hour)) {
		t.Error("a new trouble after the old one was over is not said")
	}
}

func TestTroublesThatAllDifferAreSaidOnceAMinute(t *testing.T) {
	var s Said
	said := 0
	for i := range 3600 {
		if s.New(fmt.Sprint("trouble ", i), time.Unix(int64(i), 0)) {
			said++
		}
	}
	if said != 60 {
		t.Errorf("said %d times in an hour", said)
	}
}
