package main

import (
	"fmt"
	"io"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// silentAfter is when a controller that has not announced itself is shown as
// silent: it does so several times a second.
const silentAfter = 3 * time.Second

// printControllers says who leads, and how far each controller has folded.
func printControllers(w io.Writer, st controller.Status, now time.Time) {
	fmt.Fprintf(w, "Controller %s, leading for %s. Log at %d, folded to %d, %d behind.\n",
		st.Version, age(now.Sub(st.Since)), st.Log.Last, st.Log.Folded, st.Log.Last-min(st.Log.Last, st.Log.Folded))
	for i, c := range st.Controllers {
		if i == 0 {
			fmt.Fprintf(w, "Leader %s, term %d.\n", c.Name, c.Epoch)
			continue
		}
		// Its last word is up to a quarter of a second old: in a storm even one
		// that keeps up is some entries behind.
		fmt.Fprintf(w, "Follower %s, version %s: folded to %d, %d behind", c.Name, c.Version,
			c.Settled, st.Log.Last-min(st.Log.Last, c.Settled))
		if silent := now.Sub(c.Heard); silent > silentAfter {
			fmt.Fprintf(w, ", SILENT for %s", age(silent))
		}
		fmt.Fprintln(w, ".")
	}
}

// printKeeping says what the log holds, what proves it, and what will go.
func printKeeping(w io.Writer, l controller.LogStatus, now time.Time) {
	switch c := l.Checkpoint; {
	case c != nil && l.Signs:
		fmt.Fprintf(w, "Log signed up to %d, %s ago, with key %s.\n", c.Seq, age(now.Sub(c.Time)), c.Key)
	case c != nil:
		fmt.Fprintf(w, "Log signed up to %d only, %s ago: the leader has no --checkpoint-key.\n", c.Seq, age(now.Sub(c.Time)))
	case l.Signs:
		fmt.Fprintln(w, "Log not signed yet.")
	default:
		fmt.Fprintln(w, "Log NOT SIGNED: the leader has no --checkpoint-key.")
	}
	for _, u := range l.Streams {
		if u.Stream != bus.EventsStream || u.Oldest.IsZero() {
			continue
		}
		size := fmt.Sprintf("%.1f MiB", float64(u.Bytes)/(1<<20))
		if u.MaxBytes > 0 {
			size += fmt.Sprintf(" of %.1f", float64(u.MaxBytes)/(1<<20))
		}
		gone := ""
		if u.First > 1 {
			gone = fmt.Sprintf(" (retention has removed 1 to %d)", u.First-1)
		}
		fmt.Fprintf(w, "Log kept from record %d of %s%s, %s, each for %s.\n",
			u.First, u.Oldest.UTC().Format(time.DateOnly), gone, size, age(u.MaxAge))
	}
	for _, warning := range l.Warnings {
		fmt.Fprintln(w, "WARNING: "+warning)
	}
}
