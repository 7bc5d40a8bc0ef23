package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/taskwall/taskwall/e2e/story"
)

type color string

const (
	red   color = "31"
	green color = "32"
	gray  color = "90"
	bold  color = "1"
)

// plain is whether standard output wants no colours.
var plain = os.Getenv("NO_COLOR") != "" || !isTerminal(os.Stdout) && os.Getenv("FORCE_COLOR") == ""

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func paint(c color, text string) string {
	if plain {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

func title(text string) { fmt.Println("\n" + paint(bold, "── "+text)) }

func say(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }

// observations prints a table of the flows and returns how many were not as
// expected. With the observations of before, only what changed is printed.
func observations(now, before []story.Observation) int {
	var wrong, allowed, same int
	say("%s", paint(gray, fmt.Sprintf("%-16s %-16s %-9s %-8s %-9s %s", "FROM", "TO", "PORT", "EXPECTED", "OBSERVED", "THE SERVER SAW")))
	for i, o := range now {
		if o.Expected {
			allowed++
		}
		if !o.Right() {
			wrong++
		} else if before != nil && before[i].Open() == o.Open() {
			same++
			continue
		}
		expected, observed := "deny", "deny"
		if o.Expected {
			expected = "allow"
		}
		if o.Open() {
			observed = "allow"
		}
		mark, c := "✓", gray
		if o.Open() {
			c = green
		}
		if !o.Right() {
			mark, c = "✗ WRONG: "+o.Result.String(), red
		}
		say("%s", paint(c, strings.TrimRight(fmt.Sprintf("%-16s %-16s %-9s %-8s %-9s %-13s %s", o.From, o.To,
			fmt.Sprintf("%d/%s", o.Port, o.Protocol), expected, observed, o.Source(), mark), " ")))
	}
	if same > 0 {
		say("%s", paint(gray, fmt.Sprintf("%d other flows as before", same)))
	}
	say("%d flows: %d to allow, %d to deny, %d wrong", len(now), allowed, len(now)-allowed, wrong)
	return wrong
}

// short is a task id without the part that only machines need.
func short(id string) string {
	if i := strings.Index(id, ".instance-"); i > 0 {
		return id[:i] + id[i:i+18] + "…"
	}
	return id
}
