package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/strict"
)

// outputFlag adds -o.
func outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", "text", "text for people, json for scripts")
}

// wantsJSON reports what -o asks for.
func wantsJSON(cmd *cobra.Command) (bool, error) {
	switch o, _ := cmd.Flags().GetString("output"); o {
	case "text":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, usageError{fmt.Errorf("--output %q: use text or json", o)}
	}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// reply prints the answer of a command whose exit status is its verdict, v as
// JSON or what text writes, and returns errNo when the verdict is no.
func reply(cmd *cobra.Command, asJSON bool, v any, no bool, text func(io.Writer) error) error {
	w := cmd.OutOrStdout()
	var err error
	if asJSON {
		err = printJSON(w, v)
	} else {
		err = text(w)
	}
	if err == nil && no {
		return errNo
	}
	return err
}

// table prints rows in columns; the first row is the heading.
func table(w io.Writer, rows ...[]string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strict.Visible(cell, "")
		}
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	return tw.Flush()
}

// dash stands for nothing in a table.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is a time span as people say it: the largest unit only.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
