package work

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
)

// Whatever a host sends as a report counts for that host, or not at all.
func FuzzReport(f *testing.F) {
	f.Add("REPORTS.a", "", []byte(`{"id":"1","host":"b","join":{"host":"c"}}`))
	f.Add("REPORTS.a", "s2", []byte("\xff\xff\xff\xff\xff\x0f"))
	f.Add("REPORTS.a_2", "", []byte(`{"id":"1","wiring":{"host":"c"},"drift":{}}`))
	f.Fuzz(func(t *testing.T, subject, encoding string, data []byte) {
		r, err := decodeReport(subject, nats.Header{"Taskwall-Encoding": {encoding}}, data)
		if err != nil {
			return
		}
		if bus.ReportsSubject(r.Host) != subject && bus.WorkSubject(r.Host) != subject && bus.LiveSubject(r.Host) != subject && bus.CatchupSubject(r.Host) != subject {
			t.Fatalf("a report on %s counts for %q", subject, r.Host)
		}
		if r.Join != nil && r.Join.Host != r.Host || r.Wiring != nil && r.Wiring.Host != r.Host {
			t.Fatalf("a report of %s speaks for another", r.Host)
		}
	})
}

// No item brings the picture of a host down, and its digest stays that of the
// picture.
func FuzzItem(f *testing.F) {
	f.Add([]byte(`{"host":"h","rev":1,"sets":[{"id":"a","type":"nets","members":["10.0.0.1","10.0.0.1"]}],"members":[{"id":"a","remove":["10.0.0.1"]}]}`))
	f.Add([]byte(`{"host":"h","rev":1,"snapshot":true,"routes":[{"prefix":"10.0.0.0/24"}],"delete":{"routes":["10.0.0.0/24"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		it, err := unpackItem("h", nil, data)
		if err != nil {
			return
		}
		s := NewState()
		s.Rev = it.Rev - 1
		if err := s.Apply(it); err != nil {
			return
		}
		whole := NewState()
		if err := whole.Apply(s.Item("h")); err != nil || whole.Digest() != s.Digest() {
			t.Fatalf("the picture's digest is %s, its snapshot's %s, %v", s.Digest(), whole.Digest(), err)
		}
	})
}
