package events_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskwall/taskwall/events"
)

const aUUID = "e9a5b7d2-5a6c-11ee-8c99-0242ac120002"

func TestAppOfTasks(t *testing.T) {
	for id, want := range map[string]string{
		"prod_db_my-app.instance-" + aUUID + "._app.1":    "/prod/db/my-app",
		"prod_db.instance-" + aUUID + ".side-car.12":      "/prod/db", // a pod's container
		"prod_db.instance-" + aUUID + "._app":             "/prod/db",
		"prod_db.instance-" + aUUID + ".side-car":         "/prod/db",
		"prod_db.marathon-" + aUUID + "._app":             "/prod/db",
		"prod_db.marathon-" + aUUID + "._app.3":           "/prod/db",
		"prod_db.instance-" + aUUID + "_x.3":              "/prod/db",
		"prod_db.instance-" + aUUID:                       "/prod/db",
		"prod_db." + aUUID:                                "/prod/db",
		"prod_db." + aUUID + ".2":                         "/prod/db",
		"prod_db_" + aUUID:                                "/prod/db",
		"v1.2_web.instance-" + aUUID + "._app.1":          "/v1.2/web",
		"web.5.instance-" + aUUID + "._app.1":             "/web.5",
		"web." + aUUID + ".instance-" + aUUID + "._app.1": "/web." + aUUID,
		"pod.instance-" + aUUID + ".instance-1.1":         "/pod", // of a container named instance-1
		"pod.instance-" + aUUID + ".5.1":                  "/pod",
		"pod.instance-" + aUUID + ".5":                    "/pod",
		"pod.instance-" + aUUID + ".marathon-1":           "/pod",
		"a.instance-b.instance-" + aUUID + "._app.1":      "/a.instance-b", // and not /a
		"a.instance-b._app.instance-" + aUUID + "._app.1": "/a.instance-b./app",
		"a.instance-b.marathon-" + aUUID + "._app":        "/a.instance-b",
		"instance-foo_web.instance-" + aUUID + "._app.1":  "/instance-foo/web",
		"instance-foo.instance-" + aUUID + "._app.1":      "/instance-foo",
		"instance-foo." + aUUID:                           "/instance-foo",
		"marathon-prod_web.instance-" + aUUID + "._app.1": "/marathon-prod/web",
		"": "", ".": "", "_": "", "web": "", "web.5": "", "web._app.1": "", "." + aUUID: "", aUUID: "", aUUID + ".1": "",
		".instance-" + aUUID + "._app.1": "", "instance-" + aUUID + "._app.1": "", "instance-" + aUUID: "", "a.instance-": "",
		"a.instance-._app.1": "", "spark-driver-2024.0": "",
	} {
		if got := events.AppOf(id); got != want {
			t.Errorf("AppOf(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestAppOfExecutors(t *testing.T) {
	for id, want := range map[string]string{
		"instance-prod_db." + aUUID:                      "/prod/db",
		"instance-v1.2_db." + aUUID:                      "/v1.2/db",
		"prod_db.instance-" + aUUID + "._app.1":          "/prod/db",
		"instance-pay_web.instance-" + aUUID + "._app.1": "/instance-pay/web", // an app, and not /pay/web…
		"instance-pay_web.instance-" + aUUID + "._app":   "/instance-pay/web",
		"instance-pay_web.instance-" + aUUID + ".side.1": "/instance-pay/web",
		"instance-." + aUUID:                             "", "instance-": "", "": "",
	} {
		if got := events.AppOfExecutor(id); got != want {
			t.Errorf("AppOfExecutor(%q) = %q, want %q", id, got, want)
		}
	}
}

// The patterns by which Marathon itself reads ids (CLUSTER-API 2.3), in their
// order, of which the last two are narrower here: there they take any id at all.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`^(.+)\.(instance-|marathon-)([^_\.]+)[\._]([^\.]+)\.(\d+)$`),
	regexp.MustCompile(`^(.+)\.(instance-|marathon-)([^_\.]+)[\._]([^\.]+)$`),
	regexp.MustCompile(`^(.+)\.(instance-|marathon-)([^_\.]+)$`),
	regexp.MustCompile(`^(.+)([\._])([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})(\.)(\d+)$`),
	regexp.MustCompile(`^(.+)([\._])([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})$`),
}

func TestAppOfReadsIDsAsMarathonDoes(t *testing.T) {
	part := rapid.SampledFrom([]string{
		"a", "5", "12", "_app", "_", ".", "instance-", "marathon-", "instance-b", "-", aUUID, "side-car", "x_y",
	})
	rapid.Check(t, func(t *rapid.T) {
		sep := rapid.SampledFrom([]string{".", "_", ""})
		var id strings.Builder
		for range rapid.IntRange(1, 7).Draw(t, "parts") {
			id.WriteString(part.Draw(t, "part") + sep.Draw(t, "sep"))
		}
		want := ""
		for _, p := range patterns {
			if m := p.FindStringSubmatch(id.String()); m != nil {
				want = "/" + strings.ReplaceAll(m[1], "_", "/")
				break
			}
		}
		if got := events.AppOf(id.String()); got != want {
			t.Fatalf("AppOf(%q) = %q, Marathon's patterns say %q", id.String(), got, want)
		}
	})
}

func TestAppOfATaskWhoseExecutorIsNamed(t *testing.T) {
	for _, tt := range []struct{ task, executor, want string }{
		{"prod_db.instance-" + aUUID + ".c1.1", "instance-prod_db." + aUUID, "/prod/db"},
		{"prod_db.instance-" + aUUID + "._app.1", "marathon-prod_db.instance-" + aUUID + "._app.1", "/prod/db"}, // a custom executor
		{"db1", "instance-prod_db." + aUUID, "/prod/db"},
		{"db1", "db1", ""},
	} {
		task := events.Task{ID: tt.task, Executor: tt.executor}
		if got := task.App(); got != tt.want {
			t.Errorf("%s in %s is of %q, want %q", tt.task, tt.executor, got, tt.want)
		}
	}
}
