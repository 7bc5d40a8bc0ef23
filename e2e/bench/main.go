// Command bench runs the project's benchmarks, prints one table and writes
// bench.json: what was measured, the physical limit measured in the same run
// (raw), the best known figure of a peer, and the target.
//
//	bench [pattern]
//
// Benchmarks are plain Go benchmarks; run them by themselves for benchstat. A
// metric "raw-X" is the limit for the metric "X" of the same benchmark.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// repeats is how often each benchmark runs; its median counts.
const repeats = 3

// Row is one figure of bench.json. Raw, Peer and Target are absent where there
// is none; Met is absent without a target.
type Row struct {
	Name   string   `json:"name"`
	Value  float64  `json:"value"`
	Unit   string   `json:"unit"`
	Raw    *float64 `json:"raw,omitempty"`
	Peer   string   `json:"peer,omitempty"`
	Target *float64 `json:"target,omitempty"`
	Met    *bool    `json:"met,omitempty"`
	// Min and Max show the spread of the runs.
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	pattern := "."
	if len(os.Args) > 1 {
		pattern = os.Args[1]
	}
	if err := run(ctx, pattern); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pattern string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-count", strconv.Itoa(repeats),
		"-p", "1", "-timeout", "2h", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running the benchmarks: %w", err)
	}
	samples, order := read(io.TeeReader(out, os.Stderr))
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("running the benchmarks: %w", err)
	}
	rows := rows(samples, order)
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile("bench.json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return print(os.Stdout, rows)
}

// metric is one unit of one benchmark.
type metric struct{ bench, unit string }

// read takes the values of all metrics from the output of go test.
func read(r io.Reader) (samples map[metric][]float64, order []metric) {
	samples = map[metric][]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
			name = name[:i]
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				continue
			}
			m := metric{name, f[i+1]}
			if samples[m] == nil {
				order = append(order, m)
			}
			samples[m] = append(samples[m], v)
		}
	}
	return samples, order
}

func rows(samples map[metric][]float64, order []metric) []Row {
	rows := []Row{}
	for _, m := range order {
		values := samples[m]
		slices.Sort(values)
		if strings.HasPrefix(m.unit, "raw-") || m.unit == "ns/op" && values[len(values)-1] == 0 {
			continue
		}
		row := Row{Name: m.bench, Unit: m.unit, Value: median(values), Min: values[0], Max: values[len(values)-1]}
		if raw := samples[metric{m.bench, "raw-" + m.unit}]; raw != nil {
			slices.Sort(raw)
			v := median(raw)
			row.Raw = &v
		}
		if g, ok := goals[m.bench+" "+m.unit]; ok {
			row.Peer = g.peer
			if g.target != 0 {
				met := row.Value <= g.target
				if g.atLeast {
					met = row.Value >= g.target
				}
				row.Target, row.Met = &g.target, &met
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

func print(w io.Writer, rows []Row) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "BENCHMARK\tVALUE\tSPREAD\tUNIT\tRAW\tTARGET\tMET\tPEER")
	for _, r := range rows {
		met := ""
		if r.Met != nil {
			met = map[bool]string{true: "yes", false: "NO"}[*r.Met]
		}
		fmt.Fprintf(tw, "%s\t%s\t%s-%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, number(&r.Value), number(&r.Min), number(&r.Max),
			r.Unit, number(r.Raw), number(r.Target), met, r.Peer)
	}
	return tw.Flush()
}

func number(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', 4, 64)
}
