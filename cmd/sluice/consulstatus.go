package main

import (
	"cmp"
	"fmt"

	"sluice/discovery/consul"
	"sluice/proxy/admin"
)

// consulStatus is what a pool knows of Consul, and Consul of this proxy, for the admin server. register says whether the
// configuration wants a service.
func consulStatus(root string, st consul.Status, m consul.MemberStatus, register bool) admin.ConsulStatus {
	out := admin.ConsulStatus{
		ID: m.ID, Root: root, Up: st.Failures == 0 && !st.LastContact.IsZero(), LastContact: st.LastContact,
		Error: cmp.Or(st.LastError, m.Err), IndexResets: st.IndexResets,
		Epoch: st.Epoch, Applied: st.Applied, FromFile: st.FromFile, Warnings: append([]string(nil), st.Problems...),
		LeaseSeconds: m.LeaseLeft.Seconds(), LeaseSure: m.Sure, Register: register, Registered: m.Registered,
	}
	for _, a := range st.Alarms {
		out.Alarms = append(out.Alarms, admin.Alarm{Kind: a.Kind, Text: a.Text})
	}
	for _, n := range st.Nodes {
		if n.Warning != "" {
			out.Warnings = append(out.Warnings, fmt.Sprintf("group %s: %s: %s", n.Group, n.Addr, n.Warning))
		}
	}
	return out
}
