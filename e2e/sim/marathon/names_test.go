package marathon

import "testing"

// TestTaskIDsNameTheirInstanceAndApp, whatever an app or a container is called.
func TestTaskIDsNameTheirInstanceAndApp(t *testing.T) {
	const uuid = "e9a5b7d2-5a6c-11ee-8c99-0242ac120002"
	for _, tt := range []struct{ task, instance, app string }{
		{"shop_web.instance-" + uuid + "._app.3", "shop_web.instance-" + uuid, "/shop/web"},
		{"shop_db.instance-" + uuid + ".side.1", "shop_db.instance-" + uuid, "/shop/db"},
		{"pod.instance-" + uuid + ".instance-1.1", "pod.instance-" + uuid, "/pod"}, // a container's name
		{"pod.instance-" + uuid + ".marathon-x.1", "pod.instance-" + uuid, "/pod"},
		{"a.instance-b.instance-" + uuid + "._app.1", "a.instance-b.instance-" + uuid, "/a.instance-b"}, // an app's
		{"v1.marathon-2_web.instance-" + uuid + "._app.1", "v1.marathon-2_web.instance-" + uuid, "/v1.marathon-2/web"},
		{"shop_web.instance-" + uuid + "._app", "shop_web.instance-" + uuid, "/shop/web"},
		{"shop_web." + uuid, "shop_web.marathon-" + uuid, "/shop/web"}, // before 1.4
		{"shop_web." + uuid + ".2", "shop_web.marathon-" + uuid, "/shop/web"},
	} {
		if got := instanceOf(tt.task); got != tt.instance {
			t.Errorf("%s is of %s, want %s", tt.task, got, tt.instance)
		}
		if got := AppOf(tt.task); got != tt.app {
			t.Errorf("%s is of %s, want %s", tt.task, got, tt.app)
		}
	}
	if got := executorID("a.instance-b_c.instance-" + uuid); got != "instance-a.instance-b_c."+uuid {
		t.Errorf("executor %s", got)
	}
}
