package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/taskwall/taskwall/policy/strict"
)

// A setting has one name in three places, and the first that is given counts:
//
//	--nats-url URL                flag
//	TASKWALL_NATS_URL=URL         environment
//	nats-url: URL                 the YAML file of --config
//
// One file can serve every command: a name that another command knows is
// accepted and not used, a name that none knows is an error.

// envName is the environment variable of a setting.
func envName(flag string) string {
	return "TASKWALL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applySettings fills the flags that the command line did not give. It reports
// every mistake, not only the first.
func applySettings(cmd *cobra.Command) error {
	flags := cmd.Flags()
	var errs []error
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	flags.VisitAll(func(f *pflag.Flag) {
		value, ok := os.LookupEnv(envName(f.Name))
		if !ok || value == "" || given[f.Name] {
			return
		}
		given[f.Name] = true
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", envName(f.Name), err))
		}
	})
	if file, _ := flags.GetString("config"); file != "" {
		errs = append(errs, applyFile(cmd, file, given)...)
	}
	return errors.Join(errs...)
}

func applyFile(cmd *cobra.Command, file string, given map[string]bool) []error {
	data, err := os.ReadFile(file)
	if err != nil {
		return []error{fmt.Errorf("reading the configuration: %w", err)}
	}
	doc, err := parser.ParseBytes(data, 0)
	if err != nil {
		return []error{fmt.Errorf("%s is not YAML: %w", file, err)}
	}
	known := allSettings(cmd.Root())
	var errs []error
	seen := map[string]int{}
	for _, d := range doc.Docs {
		for _, entry := range entries(d.Body) {
			pos := entry.Key.GetToken().Position
			name := entry.Key.GetToken().Value
			bad := func(format string, args ...any) {
				errs = append(errs, fmt.Errorf("%s:%d:%d: %s: %w", file, pos.Line, pos.Column, name, fmt.Errorf(format, args...)))
			}
			if line, twice := seen[name]; twice {
				bad("is set twice, first in line %d; keep one", line)
				continue
			}
			seen[name] = pos.Line
			f := cmd.Flags().Lookup(name)
			switch {
			case !known[name]:
				bad("there is no such setting%s", suggestion(name, known))
				continue
			case f == nil || given[name]:
				continue
			}
			value, err := scalar(entry.Value)
			if err == nil {
				err = cmd.Flags().Set(name, value)
			}
			if err != nil {
				bad("%w", err)
			}
		}
	}
	return errs
}

func entries(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// scalar is a value as a flag takes it; a list is joined by commas.
func scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		parts := make([]string, 0, len(n.Values))
		for _, v := range n.Values {
			part, err := scalar(v)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ","), nil
	case *ast.MappingNode, *ast.MappingValueNode:
		return "", errors.New("takes one value or a list, not a mapping")
	case *ast.NullNode:
		return "", errors.New("has no value; remove the line or give one")
	case *ast.LiteralNode:
		return n.Value.Value, nil
	}
	return n.GetToken().Value, nil
}

// allSettings are the names that any command knows.
func allSettings(root *cobra.Command) map[string]bool {
	names := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return names
}

// suggestion names the known setting that is nearest to a misspelt one.
func suggestion(name string, known map[string]bool) string {
	if near := strict.Nearest(name, slices.Sorted(maps.Keys(known))); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; see --help for those there are"
}
