package proof

import (
	"fmt"
	"testing"

	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// BenchmarkVerify reads a past of some thousand events of tasks on ten hosts,
// with the items and the answers that they made.
func BenchmarkVerify(b *testing.B) {
	p := pasttest.New(b)
	p.Policy("ann", pasttest.Pool, pasttest.WebToDB, pasttest.DBFromWeb)
	for i := range 10 {
		p.Host(fmt.Sprint("h", i), fmt.Sprint("192.168.50.", 1+i))
	}
	for i := range 4000 {
		app, state := []string{"web", "db"}[i%2], "TASK_RUNNING"
		if i%4 > 1 {
			state = "TASK_FINISHED"
		}
		p.Task(fmt.Sprint(app, ".", i/4), app, fmt.Sprint("h", i/4%10), state, map[string]string{"app": app})
	}
	p.Checkpoint()
	b.ResetTimer()
	for b.Loop() {
		v, err := New(b.Context(), p, Options{}, pasttest.Trust)
		if err != nil {
			b.Fatal(err)
		}
		rep, err := v.Run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if !rep.OK() {
			b.Fatalf("found %+v", rep.Findings)
		}
	}
	n := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(n*float64(len(p.Log)), "events/s")
	b.ReportMetric(n*float64(len(p.Sent)), "items/s")
}
