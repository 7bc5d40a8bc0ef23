package eventlog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// signedLog has ten records, with checkpoints at 4, 8 and 10.
func signedLog(t *testing.T) *Log {
	t.Helper()
	l := newLog(t, Options{Epoch: 1, Key: testKey("log"), CheckpointEvery: 4})
	for _, e := range taskEvents("e", 10) {
		mustAppend(t, l, e)
	}
	if err := l.Checkpoint(bustest.Context(t)); err != nil {
		t.Fatal(err)
	}
	return l
}

func verify(t *testing.T, l *Log) *Report {
	t.Helper()
	rep, err := l.Verify(bustest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// stolen is what someone with all rights on the message bus, but without the
// key, can get hold of: the raw records.
func stolen(t *testing.T, l *Log) []*Record {
	t.Helper()
	var all []*Record
	for r, err := range l.records(bustest.Context(t), 1, 10) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// rewrite replaces the whole stream.
func rewrite(t *testing.T, l *Log, rs []*Record) {
	t.Helper()
	ctx := bustest.Context(t)
	s, err := l.js.Stream(ctx, bus.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if err := l.js.DeleteStream(ctx, bus.EventsStream); err != nil {
		t.Fatal(err)
	}
	if _, err := l.js.CreateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	for i, r := range rs {
		if r.Foreign() {
			intrude(t, l, string(r.Data))
			continue
		}
		msg, err := r.message(l.js.Conn(), fmt.Sprint(i))
		if err == nil {
			_, err = l.js.PublishMsg(ctx, msg)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// relink makes the chain fit again after a change, as a forger would.
func relink(rs []*Record) {
	var link Hash
	for i, r := range rs {
		r.Seq, r.Prev = uint64(i+1), link
		link = r.Hash()
	}
}

func wantProblems(t *testing.T, rep *Report, want ...string) {
	t.Helper()
	var got []string
	for _, p := range rep.Problems {
		s := p.String()
		if i := strings.Index(s, " of 20"); i > 0 { // the checkpoint's time
			s = s[:i]
		}
		got = append(got, s)
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestVerifyOfAnHonestLog(t *testing.T) {
	l := signedLog(t)
	rep := verify(t, l)
	wantProblems(t, rep)
	if rep.First != 1 || rep.Last != 10 || rep.Records != 10 || rep.Signed != 10 || rep.Checkpoints != 3 {
		t.Errorf("the report is %+v", rep)
	}
	// An auditor without the key's public half sees the chain, and that nothing is proved.
	rep = verify(t, open(t, l, Options{}))
	wantProblems(t, rep)
	if rep.Signed != 0 || rep.Untrusted != 3 {
		t.Errorf("without a key the report is %+v", rep)
	}
	rep = verify(t, open(t, l, Options{Trust: []ed25519.PublicKey{testKey("other").Public().(ed25519.PublicKey)}}))
	wantProblems(t, rep, "records 1 to 10: no trusted key vouches for them, but another key does")
	rep = verify(t, open(t, l, Options{Trust: []ed25519.PublicKey{testKey("log").Public().(ed25519.PublicKey)}}))
	if !rep.OK() || rep.Signed != 10 {
		t.Errorf("with the public key the report is %+v", rep)
	}
}

func TestTamperingIsLocated(t *testing.T) {
	alter := func(r *Record) { r.Data = bytes.Replace(r.Data, []byte("TASK_RUNNING"), []byte("TASK_STAGING"), 1) }
	for name, c := range map[string]struct {
		tamper func([]*Record) []*Record
		want   []string
	}{
		"a record is altered": {
			func(rs []*Record) []*Record { alter(rs[5]); return rs },
			[]string{"records 6 to 7: altered: the link in 7 does not fit the content of 6"},
		},
		"a record is altered and the next is linked to it": {
			func(rs []*Record) []*Record { alter(rs[5]); rs[6].Prev = rs[5].Hash(); return rs },
			[]string{"records 7 to 8: altered: the link in 8 does not fit the content of 7"},
		},
		"a record is altered and all after it are linked anew": {
			func(rs []*Record) []*Record { alter(rs[5]); relink(rs); return rs },
			[]string{
				"records 5 to 8: altered: not what the checkpoint",
				"records 5 to 10: altered: not what the checkpoint",
			},
		},
		"the last record is altered": {
			func(rs []*Record) []*Record { alter(rs[9]); return rs },
			[]string{"records 9 to 10: altered: not what the checkpoint"},
		},
		"the epoch of a record is altered": {
			func(rs []*Record) []*Record { rs[2].Epoch = 9; return rs },
			[]string{"records 3 to 4: altered: the link in 4 does not fit the content of 3"},
		},
		"a record is taken out and the others close up": {
			func(rs []*Record) []*Record { rs = slices.Delete(rs, 2, 3); relink(rs); return rs },
			[]string{
				"records 1 to 4: altered: not what the checkpoint",
				"records 1 to 8: altered: not what the checkpoint",
				"record 10: missing at the end: a checkpoint was signed for them",
			},
		},
		"two records change places": {
			func(rs []*Record) []*Record { rs[5].Data, rs[6].Data = rs[6].Data, rs[5].Data; return rs },
			[]string{
				"records 6 to 7: altered: the link in 7 does not fit the content of 6",
				"records 7 to 8: altered: the link in 8 does not fit the content of 7",
			},
		},
		"the end is cut off": {
			func(rs []*Record) []*Record { return rs[:6] },
			[]string{"records 7 to 8: missing at the end: a checkpoint was signed for them"},
		},
		"a record is not an event": {
			func(rs []*Record) []*Record { rs[4].Data = []byte("{}"); return rs },
			[]string{
				"records 5 to 6: altered: the link in 6 does not fit the content of 5",
				"record 5: record 5: not a valid event: schema 0, this program knows 1 to 1",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := signedLog(t)
			rewrite(t, l, c.tamper(stolen(t, l)))
			rep := verify(t, l)
			slices.SortStableFunc(c.want, strings.Compare)
			got := rep.Problems
			slices.SortStableFunc(got, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
			wantProblems(t, rep, c.want...)
		})
	}
}

// unlock lets records be deleted, which the log's streams never allow.
func unlock(t *testing.T, l *Log) jetstream.Stream {
	t.Helper()
	ctx := bustest.Context(t)
	rs := stolen(t, l)
	if err := l.js.DeleteStream(ctx, bus.EventsStream); err != nil {
		t.Fatal(err)
	}
	s, err := l.js.CreateStream(ctx, jetstream.StreamConfig{Name: bus.EventsStream, Subjects: []string{bus.EventsSubject}, AllowDirect: true, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rs {
		msg, err := r.message(l.js.Conn(), fmt.Sprint(i))
		if err == nil {
			_, err = l.js.PublishMsg(ctx, msg)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestRemovedRecordsAreLocated(t *testing.T) {
	ctx := bustest.Context(t)
	l := signedLog(t)
	s := unlock(t, l)
	for _, seq := range []uint64{3, 6, 7, 10} {
		if err := s.DeleteMsg(ctx, seq); err != nil {
			t.Fatal(err)
		}
	}
	wantProblems(t, verify(t, l), "record 3: missing", "records 6 to 7: missing", "record 10: missing")
	for _, err := range l.Read(ctx, 1) {
		if err != nil && !strings.Contains(err.Error(), "records 3 to 3: records are missing") {
			t.Errorf("reading over the gap: %v", err)
		}
	}
}

// Whoever removes checkpoints, the first or others, is found by their numbers.
// The last can be taken away without a trace: see Verifier.
func TestRemovedCheckpointsAreLocated(t *testing.T) {
	l := signedLog(t)
	for name, c := range map[string]struct {
		remove []int
		want   []string
	}{
		"the first":      {[]int{0}, []string{"records 1 to 8: missing checkpoints: those numbered 1 to 1"}},
		"the middle":     {[]int{1}, []string{"records 5 to 10: missing checkpoints: those numbered 2 to 2"}},
		"all but a last": {[]int{0, 1}, []string{"records 1 to 10: missing checkpoints: those numbered 1 to 2"}},
		"all":            {[]int{0, 1, 2}, []string{"records 1 to 10: no trusted key vouches for them"}},
		"none":           {nil, nil},
	} {
		all, err := l.Checkpoints(bustest.Context(t))
		if err != nil {
			t.Fatal(err)
		}
		var kept []Checkpoint
		for i, one := range all {
			if !slices.Contains(c.remove, i) {
				kept = append(kept, one)
			}
		}
		v := NewVerifier(kept, testKey("log").Public().(ed25519.PublicKey))
		for r, err := range l.Records(bustest.Context(t), 1) {
			if err != nil {
				t.Fatal(err)
			}
			v.Record(r)
		}
		t.Run(name, func(t *testing.T) { wantProblems(t, v.End(10), c.want...) })
	}
}

// Retention removes the oldest: that is not tampering, and the rest is still
// vouched for.
func TestVerifyAfterRetention(t *testing.T) {
	l := signedLog(t)
	if err := unlock(t, l).Purge(bustest.Context(t), jetstream.WithPurgeSequence(5)); err != nil {
		t.Fatal(err)
	}
	rep := verify(t, l)
	wantProblems(t, rep)
	if rep.First != 5 || rep.Signed != 10 || rep.Checkpoints != 3 { // that at 4 by the link of 5
		t.Errorf("the report is %+v", rep)
	}
}

func TestStreamsRefuseDeletion(t *testing.T) {
	ctx := bustest.Context(t)
	l := signedLog(t)
	for _, name := range []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream, bus.CheckpointsStream} {
		s, err := l.js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(ctx); err == nil {
			t.Errorf("%s was purged", name)
		}
		if err := s.DeleteMsg(ctx, 1); err == nil {
			t.Errorf("a message of %s was deleted", name)
		}
		cfg := s.CachedInfo().Config
		cfg.DenyDelete, cfg.DenyPurge = false, false
		if _, err := l.js.UpdateStream(ctx, cfg); err == nil {
			t.Errorf("%s was unlocked", name)
		}
	}
}

func TestForgedCheckpointsAreNotBelieved(t *testing.T) {
	ctx := bustest.Context(t)
	l := signedLog(t)
	rs := stolen(t, l)
	rs[5].Data = bytes.Replace(rs[5].Data, []byte("a1"), []byte("a2"), 1)
	relink(rs)
	rewrite(t, l, rs)

	forger := open(t, l, Options{Epoch: 2, Key: testKey("forger")})
	if err := forger.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	c := Sign(testKey("forger"), Checkpoint{Seq: 10, Hash: rs[9].Hash(), Time: forger.mark.at})
	c.Key = KeyName(testKey("log").Public().(ed25519.PublicKey)) // signed with one key, in the name of another
	data := fmt.Appendf(nil, `{"seq":10,"hash":"%s","time":"%s","key":"%s","signature":"%s"}`, c.Hash, c.Time.Format("2006-01-02T15:04:05Z"), c.Key, c.Signature)
	if _, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: bus.CheckpointsSubject, Data: data}); err != nil {
		t.Fatal(err)
	}
	rep := verify(t, l)
	wantProblems(t, rep,
		"records 5 to 8: altered: not what the checkpoint",
		"records 5 to 10: altered: not what the checkpoint",
		"records 5 to 10: no trusted key vouches for them, but another key does",
		"record 10: the checkpoint here is not what was signed: its signature does not fit",
	)
	if rep.Untrusted != 1 || rep.Signed != 4 {
		t.Errorf("the report is %+v", rep)
	}
}

func TestExportedCopy(t *testing.T) {
	ctx := bustest.Context(t)
	l := signedLog(t)
	var file bytes.Buffer
	if err := l.Export(ctx, &file); err != nil {
		t.Fatal(err)
	}
	read := func(text string) *Export {
		t.Helper()
		x, err := ImportReader(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	key := testKey("log").Public().(ed25519.PublicKey)
	check := func(text string) *Report {
		t.Helper()
		rep, err := verifyCopy(read(text), key)
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	rep := check(file.String())
	wantProblems(t, rep)
	if rep.First != 1 || rep.Last != 10 || rep.Signed != 10 {
		t.Errorf("the report is %+v", rep)
	}
	n := 0
	for r, err := range read(file.String()).Records() {
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.Entry()
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Seq != uint64(n) || e.Event.ID != fmt.Sprintf("e-%d", n-1) {
			t.Errorf("record %d is %+v", n, e)
		}
	}
	if n != 10 {
		t.Errorf("the copy has %d records", n)
	}

	lines := strings.SplitAfter(file.String(), "\n") // header, 3 checkpoints, 10 records
	altered := slices.Clone(lines)
	altered[4+5] = strings.Replace(altered[4+5], "TASK_RUNNING", "TASK_STAGING", 1)
	wantProblems(t, check(strings.Join(altered, "")), "records 6 to 7: altered: the link in 7 does not fit the content of 6")
	wantProblems(t, check(strings.Join(slices.Delete(slices.Clone(lines), 6, 8), "")), "records 3 to 4: missing")
	wantProblems(t, check(strings.Join(lines[:13], "")), "record 10: missing at the end: a checkpoint was signed for them")

	for name, text := range map[string]string{
		"empty": "", "not JSON": "hello\n", "another file": `{"taskwall":"users"}` + "\n", "a later version": `{"taskwall":"event log","version":2}` + "\n",
	} {
		if _, err := ImportReader(strings.NewReader(text)); err == nil {
			t.Errorf("%s: was taken for a copy", name)
		}
	}
}

// verifyCopy is Log.Verify for a copy.
func verifyCopy(x *Export, trust ...ed25519.PublicKey) (*Report, error) {
	v := NewVerifier(x.Checkpoints, trust...)
	for r, err := range x.Records() {
		if err != nil {
			return nil, err
		}
		v.Record(r)
	}
	return v.End(v.rep.Last), nil
}
