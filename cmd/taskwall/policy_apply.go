package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/scheduler/controller"
)

func applyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply -f DIR",
		Short: "Put the policies of a directory into force, all or none",
		Long: `Read every policy file of a directory, check all of it, and put what differs from
the policies in force into the log as one change, with its author and commit.
Nothing is applied when anything is wrong.

Policies in force that are not in the directory stay, unless --prune is given.
One change has at most 8 MB when compressed, which is tens of thousands of
policies: apply more than that one directory after another.
Author and commit are those of the directory's git commit, unless given.`,
		Example: `  taskwall policy apply -f policies/
  taskwall policy apply -f policies/ --prune --dry-run   # also the flows that would change
  taskwall policy apply -f policies/ --author ann@example.com --commit 4f2c9e1 --wait 10s`,
		Args: cobra.NoArgs,
		RunE: runApply,
	}
	f := cmd.Flags()
	f.StringP("file", "f", "", "`directory` or file with the policies")
	f.String("author", "", "who answers for the change")
	f.String("commit", "", "the commit that it was reviewed as")
	f.String("message", "", "why, in a line")
	f.Bool("prune", false, "delete the policies in force that the directory does not have")
	f.Bool("dry-run", false, "say which resources and which flows between running apps would change, and change nothing")
	f.Duration("wait", 10*time.Second, "how long to wait until the hosts have it in their kernels; 0: not at all")
	natsFlags(cmd)
	outputFlag(cmd)
	return cmd
}

func runApply(cmd *cobra.Command, _ []string) error {
	f := cmd.Flags()
	dir, _ := f.GetString("file")
	if dir == "" {
		return usageError{errors.New("name the directory with the policies: -f DIR")}
	}
	asJSON, err := wantsJSON(cmd)
	if err != nil {
		return err
	}
	wanted, err := resource.Load(dir)
	if errors.As(err, new(resource.Problems)) {
		return refused{err}
	}
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		return noPolicies(dir)
	}
	change := events.PolicyChange{}
	change.Author, _ = f.GetString("author")
	change.Commit, _ = f.GetString("commit")
	change.Message, _ = f.GetString("message")
	fromGit(cmd.Context(), dir, &change)
	if change.Author == "" {
		return usageError{fmt.Errorf("%s is not in a git checkout: name who answers for the change with --author", dir)}
	}
	conn, err := connect(cmd, "taskwall policy apply")
	if err != nil {
		return err
	}
	defer conn.Close()
	wait, _ := f.GetDuration("wait")
	ctx, cancel := context.WithTimeout(cmd.Context(), wait+10*time.Second)
	defer cancel()
	inForce, err := controller.Call[controller.Policy](ctx, conn, controller.SubjectPolicy, struct{}{})
	if err != nil {
		return err
	}
	prune, _ := f.GetBool("prune")
	change.Put, change.Delete = differences(inForce.Resources, wanted, prune)
	if err := controller.Fits(conn.NATS, change); err != nil {
		return err
	}
	if dry, _ := f.GetBool("dry-run"); dry || len(change.Put)+len(change.Delete) == 0 {
		flows, err := preview(ctx, conn, inForce, change)
		if err != nil {
			return err
		}
		return printDryRun(cmd.OutOrStdout(), asJSON, dryRun{change, flows})
	}
	result, err := controller.Call[controller.ApplyResult](ctx, conn, controller.SubjectApply,
		controller.ApplyRequest{Change: change, Wait: wait})
	if cmd.Context().Err() != nil && err != nil {
		return errors.New("interrupted: whether the change was taken is not known; see 'taskwall policy get'")
	}
	if err != nil {
		return err
	}
	if !asJSON {
		printApplied(cmd.OutOrStdout(), change, result, wait)
	} else if err := printJSON(cmd.OutOrStdout(), result); err != nil {
		return err
	}
	late := 0
	for _, took := range result.Hosts {
		if took <= 0 {
			late++
		}
	}
	if late > 0 {
		return fmt.Errorf("the change is in force in the log, but %d of %d hosts have not reported it as applied within %s; see 'taskwall status'",
			late, len(result.Hosts), wait)
	}
	return nil
}

// noPolicies says that a directory is most likely another than the one meant: an
// empty one would pass every check, and --prune would delete all that is in
// force.
func noPolicies(dir string) error {
	return usageError{fmt.Errorf("%s holds no policies (.yaml, .yml and .json files are read); is it the right directory?", dir)}
}

// fromGit fills in what the git checkout of dir says of its commit. Outside of
// a checkout it fills in nothing.
func fromGit(ctx context.Context, dir string, change *events.PolicyChange) {
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", gitDir(dir)}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	if change.Commit == "" {
		change.Commit = git("rev-parse", "HEAD")
	}
	if change.Author == "" {
		change.Author = git("log", "-1", "--format=%an <%ae>")
	}
	if change.Message == "" {
		change.Message = git("log", "-1", "--format=%s")
	}
}

// gitDir is the directory of a file, or the directory itself.
func gitDir(path string) string {
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" || ext == ".json" {
		return filepath.Dir(path)
	}
	return path
}

// differences says what must be put and deleted to get from one set of
// resources to another.
func differences(have, want []events.Resource, prune bool) (put []events.Resource, del []events.ResourceKey) {
	old := map[events.ResourceKey]events.Resource{}
	for _, r := range have {
		old[r.ResourceKey] = r
	}
	for _, r := range want {
		o, known := old[r.ResourceKey]
		if !known || !bytes.Equal(o.Body, r.Body) || !o.SamePlace(&r) {
			put = append(put, r)
		}
		delete(old, r.ResourceKey)
	}
	if prune {
		for key := range old {
			del = append(del, key)
		}
		slices.SortFunc(del, func(a, b events.ResourceKey) int { return strings.Compare(a.String(), b.String()) })
	}
	return put, del
}

func printApplied(w io.Writer, change events.PolicyChange, r controller.ApplyResult, wait time.Duration) {
	for _, c := range r.Changed {
		fmt.Fprintln(w, c)
	}
	fmt.Fprintf(w, "Applied as log entry %d, by %s", r.Seq, change.Author)
	if change.Commit != "" {
		fmt.Fprintf(w, ", commit %s", change.Commit)
	}
	fmt.Fprintln(w, ".")
	if len(r.Hosts) == 0 && wait > 0 {
		fmt.Fprintln(w, "It concerns no task that runs now.")
	}
	for _, host := range events.SortedKeys(r.Hosts) {
		if took := r.Hosts[host]; took > 0 {
			fmt.Fprintf(w, "in the kernel of %s after %s\n", host, took.Round(100*time.Microsecond))
		} else {
			fmt.Fprintf(w, "%s has not reported yet\n", host)
		}
	}
}
