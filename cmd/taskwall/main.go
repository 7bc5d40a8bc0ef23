// Command taskwall is the one binary: controller, agent, and the tools for
// policies, audits and status. Its commands are thin: they read settings, wire
// the packages together, and print.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/policy/explain"
	"github.com/taskwall/taskwall/policy/strict"
)

// version is set by the build.
var version = "dev"

// Exit codes. A script can tell a "no" from a failure to find out.
const (
	exitOK      = 0
	exitNo      = 1 // the answer is no: a check failed, a replay differs, a flow is denied
	exitUsage   = 2 // the command line, the environment or the configuration is wrong
	exitFailure = 3 // it could not be found out: nothing answers, a file cannot be read…
)

// usageError marks a mistake of the caller.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// refused is an answer of no that is still to be said.
type refused struct{ error }

func (e refused) Unwrap() error { return e.error }

// errNo is returned by commands whose answer is no and already printed.
var errNo = errors.New("no")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends what does not heed the first
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := newRoot()
	args = spokenTimes(args)
	root.SetArgs(args)
	out := &answer{w: os.Stdout}
	root.SetOut(out)
	err := known(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if out.err != nil && (err == nil || errors.Is(err, errNo)) {
		err = out.err
	}
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errNo):
		return exitNo
	case errors.As(err, &usage), errors.Is(err, explain.ErrAmbiguous):
		complain(root, err)
		return exitUsage
	case errors.As(err, new(refused)):
		complain(root, err)
		return exitNo
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	complain(root, err)
	return exitFailure
}

// answer is the standard output. A command whose answer could not be written did
// not give it, whether or not it looked.
type answer struct {
	w   io.Writer
	err error // of the first write that failed
}

// Write writes what somebody named so that a terminal shows it and does nothing else.
func (a *answer) Write(p []byte) (int, error) {
	_, err := io.WriteString(a.w, strict.Visible(string(p), "\n\t"))
	if err != nil {
		a.err = cmp.Or(a.err, fmt.Errorf("writing the answer: %w", err))
		return 0, err
	}
	return len(p), nil
}

// known says that args name a command.
func known(root *cobra.Command, args []string) error {
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return nil // asked by the shell; it is added later
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	cmd, rest, _ := root.Find(args)
	if cmd.Runnable() || len(rest) == 0 || strings.HasPrefix(rest[0], "-") {
		return nil
	}
	meant := ""
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(rest[0]); len(near) > 0 {
		meant = fmt.Sprintf("did you mean %q? ", near[0])
	}
	return usageError{fmt.Errorf("%s has no command %q; %ssee '%s --help'", cmd.CommandPath(), rest[0], meant, cmd.CommandPath())}
}

// checkArguments makes wrong arguments a mistake of the caller, in cmd and all
// below it, and says what to write.
func checkArguments(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil || errors.As(err, new(usageError)) {
				return err
			}
			what := "arguments are missing"
			if len(args) > 0 {
				what = "not understood: " + strings.Join(args, " ")
			}
			return usageError{fmt.Errorf("%s; write '%s', or see '%s --help'", what, strings.TrimSuffix(cmd.UseLine(), " [flags]"), cmd.CommandPath())}
		}
	}
	for _, c := range cmd.Commands() {
		checkArguments(c)
	}
}

// untilStopped makes a command one that runs until a signal stops it: that is
// no failure.
func untilStopped(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
			return nil
		}
		return err
	}
}

// spokenTimes writes times such as -30d as "30d ago": on the command line they
// would be taken for flags.
func spokenTimes(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if dashedTime.MatchString(arg) {
			out[i] = arg[1:] + " ago"
		}
	}
	return out
}

var dashedTime = regexp.MustCompile(`^-([0-9]+[smhdwy])+$`)

// complain prints an error, each of its lines marked as ours.
func complain(root *cobra.Command, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(root.ErrOrStderr(), "taskwall: "+strict.Visible(line, "\t"))
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "taskwall",
		Short: "Network policy for Apache Mesos and Marathon",
		Long: `Taskwall gives every Mesos task its own IP address and its own firewall.

Labels on a Marathon app say what a task is; policy files say who may talk to
whom. The controller follows the cluster and tells each host's agent what to
wire; all that happened is kept and can be replayed.

Every setting has one name in three places; the first that is given counts:
  --nats-url URL            on the command line
  TASKWALL_NATS_URL=URL     in the environment
  nats-url: URL             in the YAML file named by --config

Exit status: 0 yes or done, 1 the answer is no, 2 wrong usage or configuration,
3 it could not be done or found out.`,
		Example: `  taskwall controller --mesos http://10.0.0.3:5050 --marathon http://10.0.0.4:8080
  taskwall agent --nats-url nats://10.0.0.2:4222
  taskwall policy apply -f policies/
  taskwall status
  taskwall audit replay`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := applySettings(cmd); err != nil {
				return usageError{err}
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())}
	})
	root.PersistentFlags().String("config", "", "YAML `file` with settings by the names of the flags")
	root.PersistentFlags().String("log-level", "info", "debug, info, warn or error")
	root.PersistentFlags().String("log-format", "text", "text or json")
	root.AddCommand(controllerCommand(), agentCommand(), statusCommand(), whoCommand(), routesCommand(), hostCommand(),
		policyCommand(), auditCommand(), natsCommand())
	checkArguments(root)
	return root
}
