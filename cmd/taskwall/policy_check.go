package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/check"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check -f DIR",
		Short: "Find what is wrong or without effect in the policies of a directory",
		Long: `Read every policy file of a directory and find what cannot be applied (errors) and
what probably is not meant (warnings): selectors that match nothing, rules that
earlier ones shadow, policies that contradict each other, environments that leak.
Some of it needs to know what runs: give --endpoints.

Exit status 1 on errors, with --strict on warnings too. The output formats
github and sarif show the findings in place in a pull request.`,
		Example: `  taskwall policy check -f policies/
  taskwall policy check -f policies/ --endpoints endpoints.yaml -o github
  taskwall policy check -f policies/ -o sarif > check.sarif`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := cmd.Flags()
			dir, _ := f.GetString("file")
			if dir == "" {
				return usageError{errors.New("name the directory with the policies: -f DIR")}
			}
			file, _ := f.GetString("endpoints")
			endpoints, err := endpointsOf(file)
			if err != nil {
				return err
			}
			prefix, _ := f.GetString("prefix")
			report, err := check.Directory(dir, check.Options{Endpoints: endpoints, Prefix: prefix})
			if err != nil {
				return err
			}
			if report.Resources == 0 && report.Errors == 0 {
				return noPolicies(dir)
			}
			out := cmd.OutOrStdout()
			switch format, _ := f.GetString("output"); format {
			case "text":
				err = report.WriteText(out)
			case "json":
				err = report.WriteJSON(out)
			case "github":
				err = report.WriteGitHub(out)
			case "sarif":
				err = report.WriteSARIF(out)
			default:
				return usageError{fmt.Errorf("--output %q: use text, json, github or sarif", format)}
			}
			if strict, _ := f.GetBool("strict"); err == nil && report.Failed(strict) {
				return errNo
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringP("file", "f", "", "`directory` or file with the policies")
	f.String("endpoints", "", "YAML `file` of endpoints, for the checks that need to know what runs")
	f.String("prefix", "", "`path` to put before file names, such as the directory as seen from the repository's root")
	f.Bool("strict", false, "exit status 1 on warnings too")
	f.StringP("output", "o", "text", "text, json, github or sarif")
	cmd.AddCommand(checksCommand())
	return cmd
}

func checksCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the checks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows := [][]string{{"CHECK", "WHAT IT FINDS"}}
			for _, id := range events.SortedKeys(check.Checks) {
				rows = append(rows, []string{id, check.Checks[id]})
			}
			return table(cmd.OutOrStdout(), rows...)
		},
	}
}
