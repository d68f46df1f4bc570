// Package dashboard drives proxies and servers as codis-dashboard does (Codis 3.2, and Pika's fork of it): the order
// of its calls, what it does at an error, and how long it pauses are the same. Tests use it in place of the real one.
//
// What is not modelled: its store (a Dashboard that is closed has forgotten everything), rebalancing, the numbers of
// servers that only its web page shows, resynchronizing replicas, and the configuration of the sentinels: it tells
// proxies which there are, and takes a failover when SwitchMaster tells it.
package dashboard
