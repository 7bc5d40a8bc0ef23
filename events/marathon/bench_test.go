package marathon

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// BenchmarkSocketToFold measures events from the socket to the folded picture:
// each operation is a deployment's begin or end.
func BenchmarkSocketToFold(b *testing.B) {
	f := newFake()
	l := &fold{cluster: events.NewCluster(), want: 1, done: make(chan struct{})}
	start(b, Config{Members: []string{serve(b, f).URL}, Settle: time.Hour, Resync: time.Hour}, l, nil)
	<-l.done
	l.done, l.want = make(chan struct{}), b.N
	pairs := make([]string, 0, b.N)
	for i := range b.N {
		plan := fmt.Sprintf(`"plan":{"id":"d%d","version":"%s","steps":[{"actions":[{"action":"ScaleApplication","app":"/shop/web"}]}]}`, i/2, v1)
		if i%2 == 0 {
			pairs = append(pairs, `{"eventType":"deployment_info","timestamp":"`+v1+`",`+plan+`}`)
		} else {
			pairs = append(pairs, fmt.Sprintf(`{"eventType":"deployment_success","timestamp":"%s","id":"d%d",%s}`, v1, i/2, plan))
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, data := range pairs {
		f.send([]string{"deployment_info", "deployment_success"}[i%2], data)
	}
	<-l.done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// fold is a Sink that folds, and says when it has had so many events.
type fold struct {
	cluster *events.Cluster
	want    int
	done    chan struct{}
}

func (f *fold) Append(_ context.Context, evs ...events.Event) error {
	for _, e := range evs {
		f.cluster.Apply(e)
	}
	if f.want -= len(evs); f.want == 0 {
		close(f.done)
	}
	return nil
}
