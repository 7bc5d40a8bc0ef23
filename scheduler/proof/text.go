package proof

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/taskwall/taskwall/policy/strict"
)

// WriteText writes the report for people.
func (r *Report) WriteText(out io.Writer) error {
	tw := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	l := &r.Log
	fmt.Fprintf(tw, "Log\t%d records, %d to %d%s\n", l.Records, l.First, l.Last, stretch(l.Begin, l.End))
	switch l.Signed {
	case 0:
		fmt.Fprintf(tw, "Signed\tno record: no checkpoint of a trusted key; the chain alone speaks\n")
	case l.Last:
		fmt.Fprintf(tw, "Signed\tall records, by checkpoints of trusted keys (%d)\n", l.Checkpoints)
	default:
		fmt.Fprintf(tw, "Signed\tup to record %d, by checkpoints of trusted keys (%d); after it the chain alone speaks\n", l.Signed, l.Checkpoints)
	}
	if l.Untrusted > 0 {
		fmt.Fprintf(tw, "\t%d checkpoints are of keys that are not trusted\n", l.Untrusted)
	}
	switch {
	case l.StartSigned:
		fmt.Fprintf(tw, "Fold\tfrom the snapshot at record %d, by a checkpoint of a trusted key, to %d\n", l.Start, l.Folded)
	case l.Start > 0:
		fmt.Fprintf(tw, "Fold\tfrom the snapshot at record %d, which is taken on trust, to %d\n", l.Start, l.Folded)
	default:
		fmt.Fprintf(tw, "Fold\trecords 1 to %d\n", l.Folded)
	}
	if l.States > 0 {
		fmt.Fprintf(tw, "\tits states are those that checkpoints of trusted keys vouch for (%d)\n", l.States)
	}
	i := &r.Items
	fmt.Fprintf(tw, "Work items\t%d made by the log, %d published, %d equal%s\n", i.Made, i.Published, i.Equal, some(i.Pending, ", %d not yet published"))
	if i.Before > 0 {
		fmt.Fprintf(tw, "\t%d of those published were made before the fold begins, and not compared\n", i.Before)
	}
	if g := i.Gone; g != nil {
		fmt.Fprintf(tw, "\t%d made by records %d to %d are no longer kept, and not compared: the first that is kept was stored %s\n", g.Items, g.First, g.Last, moment(g.Kept))
	}
	h := &r.Hosts
	fmt.Fprintf(tw, "Hosts\t%d; %d items answered%s; the longest wait was %s\n", h.Hosts, h.Answered, some(h.Waiting, ", %d not yet"), rough(h.Longest))
	fmt.Fprintf(tw, "Pictures\t%d compared with what hosts say that they hold, %d equal\n", h.Compared, h.Equal)
	fmt.Fprintf(tw, "Reports\t%d read; %d words of hosts in the log are among them\n", h.Reports, h.Words)
	if h.First > 0 {
		fmt.Fprintf(tw, "\t1 to %d are no longer kept: what hosts said before %s is not known, nor whether they applied what was published until then\n", h.First-1, moment(h.Since))
	}
	switch {
	case h.Reports == 0 || l.Signed == 0: // said, or nothing to say
	case h.Signed == 0 && h.First > 0:
		fmt.Fprintf(tw, "\tno checkpoint of a trusted key can be compared with those that are kept\n")
	case h.Signed == 0:
		fmt.Fprintf(tw, "\tno checkpoint of a trusted key vouches for them: earlier versions signed the log alone\n")
	default:
		fmt.Fprintf(tw, "\tsigned up to report %d, by checkpoints of trusted keys\n", h.Signed)
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(tw)
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(tw, "\tKIND\tHOST\tPLACE\tSINCE\tFOR\tWHAT")
	}
	problems := 0
	for _, f := range r.Findings {
		mark := ""
		if f.Problem {
			mark = "!"
			problems++
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", mark, f.Kind, orDash(f.Host), place(f), moment(f.Since), lasted(f, r.end()), strict.Visible(f.What, ""))
	}
	for _, k := range kinds {
		if n := r.More[k]; n > 0 {
			fmt.Fprintf(tw, "\t%s\t-\t-\t-\t-\t%d more\n", k, n)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	verdict := "\nAll is as the log says.\n"
	switch notes := len(r.Findings) - problems; {
	case problems > 0:
		verdict = fmt.Sprintf("\nNOT AS IT MUST BE: %d problems, marked with !.\n", problems)
	case notes > 0:
		verdict = fmt.Sprintf("\nAll is as the log says; what was mended or late is listed above (%d).\n", notes)
	}
	_, err := io.WriteString(out, verdict)
	return err
}

// end is when the period that is told of ended.
func (r *Report) end() time.Time {
	if !r.To.IsZero() {
		return r.To
	}
	return r.Log.End
}

// place says what a finding's numbers are.
func place(f Finding) string {
	what := "revision"
	switch f.Kind {
	case KindLog:
		what = "record"
	case KindReport, KindDrift:
		what = "report"
	case KindItem:
		if f.Host == "" {
			what = "record"
		}
	}
	switch f.First {
	case 0:
		return "-"
	case f.Last:
		return fmt.Sprintf("%s %d", what, f.First)
	}
	return fmt.Sprintf("%ss %d-%d", what, f.First, f.Last)
}

// lasted is how long it was so; with a + it went on at the end.
func lasted(f Finding, end time.Time) string {
	switch {
	case f.Since.IsZero() || f.Until.Equal(f.Since):
		return "-"
	case f.Until.IsZero() && f.Kind == KindItem:
		return "-"
	case f.Until.IsZero():
		return rough(max(end.Sub(f.Since), 0)) + "+"
	}
	return rough(f.Until.Sub(f.Since))
}

func stretch(from, to time.Time) string {
	if from.IsZero() {
		return ""
	}
	return ", " + moment(from) + " to " + moment(to)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func some(n int, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// rough is a time span without more digits than people read.
func rough(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
