package conf

import "strings"

// checkCodis checks what a pool needs whose slots codis-dashboard hands out.
func checkCodis(r *report, path string, p *Pool) {
	if at := join(path, "slot_model"); p.SlotModel == SlotCluster && !r.isBad(at) {
		r.add(at, `discovery kind "codis" knows the slots of Codis, slot_model "cluster" has others`, `set slot_model = "codis"`)
	}
	for i := range p.Groups {
		if at := element(join(path, "group"), i); !r.isBad(at) {
			r.add(at, `discovery kind "codis" learns the groups from codis-dashboard`, `remove the group, or set kind = "static"`)
		}
	}
	noEffect(r, path+".discovery.seeds", len(p.Discovery.Seeds) > 0, "codis", "cluster")
	noEffect(r, path+".discovery.follow", p.Discovery.Follow, "codis", "static")
	admin := path + ".discovery.admin"
	if p.Discovery.Admin == "" && !r.isBad(admin) {
		r.add(admin, "is missing", `add admin = "10.0.0.5:11080", where codis-dashboard reaches this proxy`)
	} else if p.Discovery.Admin != "" {
		checkAddress(r, admin, p.Discovery.Admin, forListening)
	}
	checkOneOf(r, path+".discovery.replicas", p.Discovery.Replicas, ReplicasDashboard, ReplicasEvidence)
	checkSecret(r, path+".discovery.product_auth", p.Discovery.ProductAuth)
	product := path + ".discovery.product"
	switch name := p.Discovery.Product; {
	case r.isBad(product):
	case name == "":
		r.add(product, "is missing", `add product = "codis-demo", the product_name of the dashboard`)
	case strings.ContainsAny(name, " \t\r\n/"):
		r.add(product, quote(name)+" is not a product name", "the dashboard's product_name has no blanks and no slash")
	}
}

// checkNoCodis refuses the keys of checkCodis where they mean nothing.
func checkNoCodis(r *report, path string, p *Pool) {
	kind, d := string(p.Discovery.Kind), &p.Discovery
	noEffect(r, path+".discovery.replicas", d.Replicas != ReplicasDashboard, kind, "codis")
	noEffect(r, path+".discovery.admin", d.Admin != "", kind, "codis")
	noEffect(r, path+".discovery.product", d.Product != "", kind, "codis")
	noEffect(r, path+".discovery.product_auth", !d.ProductAuth.Empty(), kind, "codis")
}

// noEffect refuses a key that is given although the kind of discovery does not use it; other is the kind that does.
func noEffect(r *report, at string, given bool, kind, other string) {
	if given && !r.isBad(at) {
		r.add(at, `has no effect with discovery kind "`+kind+`"`, `remove it, or set kind = "`+other+`"`)
	}
}
