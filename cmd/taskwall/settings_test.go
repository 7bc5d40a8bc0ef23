package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// settingsCommand is a small tree of commands with settings of several types.
func settingsCommand() (root, sub *cobra.Command) {
	root = &cobra.Command{Use: "taskwall"}
	root.PersistentFlags().String("config", "", "")
	sub = &cobra.Command{Use: "serve", RunE: func(*cobra.Command, []string) error { return nil }}
	sub.Flags().String("nats-url", "default", "")
	sub.Flags().StringSlice("networks", nil, "")
	sub.Flags().Duration("address-hold", 0, "")
	other := &cobra.Command{Use: "other", RunE: func(*cobra.Command, []string) error { return nil }}
	other.Flags().String("only-other", "", "")
	root.AddCommand(sub, other)
	return root, sub
}

func TestFirstGivenSettingCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "taskwall.yaml")
	text := "nats-url: from-file\nnetworks: [a, b]\naddress-hold: 90s\nonly-other: not for serve\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env  string
		args []string
		want string
	}{
		"default": {want: "default"},
		"file":    {args: []string{"--config", file}, want: "from-file"},
		"env":     {env: "from-env", args: []string{"--config", file}, want: "from-env"},
		"flag":    {env: "from-env", args: []string{"--config", file, "--nats-url", "from-flag"}, want: "from-flag"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.env != "" {
				t.Setenv("TASKWALL_NATS_URL", tt.env)
			}
			root, sub := settingsCommand()
			root.SetArgs(append([]string{"serve"}, tt.args...))
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			if err := applySettings(sub); err != nil {
				t.Fatal(err)
			}
			if got, _ := sub.Flags().GetString("nats-url"); got != tt.want {
				t.Errorf("nats-url is %q, want %q", got, tt.want)
			}
			networks, _ := sub.Flags().GetStringSlice("networks")
			if len(tt.args) > 0 && strings.Join(networks, "+") != "a+b" {
				t.Errorf("networks are %q", networks)
			}
		})
	}
}

func TestMistakesInTheFileAreNamedByLineAndField(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"unknown":    {"# comment\nnats-ulr: x\n", []string{":2:1: nats-ulr: there is no such setting", `did you mean "nats-url"?`}},
		"wrong type": {"address-hold: soon\n", []string{":1:1: address-hold: ", "soon"}},
		"mapping":    {"networks:\n  a: b\n", []string{":1:1: networks: takes one value or a list"}},
		"twice":      {"nats-url: a\nnats-url: b\n", []string{"nats-url"}},
		"empty":      {"nats-url:\n", []string{":1:1: nats-url: has no value"}},
		"all":        {"x1: 1\nx2: 2\n", []string{":1:1: x1", ":2:1: x2"}},
		"no yaml":    {"a: [\n", []string{"is not YAML"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "taskwall.yaml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			root, sub := settingsCommand()
			root.SetArgs([]string{"serve", "--config", file})
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			err := applySettings(sub)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, file) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestMistakeInTheEnvironmentNamesTheVariable(t *testing.T) {
	t.Setenv("TASKWALL_ADDRESS_HOLD", "soon")
	root, sub := settingsCommand()
	root.SetArgs([]string{"serve"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if err := applySettings(sub); err == nil || !strings.Contains(err.Error(), "TASKWALL_ADDRESS_HOLD") {
		t.Errorf("error is %v", err)
	}
}
