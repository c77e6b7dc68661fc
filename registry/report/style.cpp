#include "registry/report/style.h"

namespace caddie::registry::report {

// Colours after Okabe and Ito, which people with any kind of colour vision tell apart; brighter ones on a dark page.
const char* const kStyle = R"css(
:root{color-scheme:light dark;--page:#fff;--panel:#f6f7f9;--ink:#1a1d21;--soft:#5b6470;--line:#d9dde3;--good:#00704d;--bad:#b23a00;
--warn:#8a5a00;--c0:#3b4252;--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#b4508f;--c5:#b07c00;--c6:#3b97d3;--c7:#7a5c3e}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--panel:#1d2127;--ink:#e6e9ed;--soft:#9aa4b1;--line:#343b45;--good:#4cd3a2;
--bad:#ff8f5c;--warn:#ecc15c;--c0:#d8dee9;--c1:#56a8ec;--c2:#ff8a45;--c3:#35c99b;--c4:#e88cc6;--c5:#e8b93f;--c6:#8fd0ff;--c7:#c8a27c}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main,header,footer{max-width:1240px;margin:0 auto;padding:0 20px}
header{padding-top:22px}
h1{font-size:1.65rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:34px 0 6px;padding-top:12px;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:16px 0 6px}
p{margin:6px 0}.intro,.sub,figcaption,footer{color:var(--soft)}
footer{padding-top:24px;padding-bottom:32px;font-size:.88rem}
nav{display:flex;flex-wrap:wrap;gap:4px 14px;margin:10px 0 0;font-size:.93rem}
a{color:var(--c1)}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;font-size:.86em}
code{overflow-wrap:anywhere}
pre{background:var(--panel);padding:12px;border-radius:6px;overflow:auto;max-height:70vh}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin-top:10px}
.tile{background:var(--panel);border-radius:8px;padding:10px 16px;min-width:112px;flex:0 1 auto}
.tile b{display:block;font-size:1.3rem;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.88rem}
.scroll{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:min(100%,420px)}
th,td{padding:5px 8px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th{color:var(--soft);font-weight:600;vertical-align:bottom;white-space:normal;min-width:3.4em}
th.n,td.n{text-align:right}
td:first-child,th:first-child{padding-left:0;position:sticky;left:0;background:var(--page)}
tbody tr:hover td{background:var(--panel)}
td .wrap,code.wrap{white-space:normal;overflow-wrap:anywhere;display:inline-block;min-width:12em;max-width:64ch}
small{color:var(--soft);font-size:.86em}
.tag{border:1px solid var(--line);border-radius:9px;padding:0 6px}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.quiet{color:var(--soft)}
.good small,.bad small{color:inherit}
.sortable th{cursor:pointer}
th[aria-sort=ascending]::after{content:" \25b2";font-size:.7em}
th[aria-sort=descending]::after{content:" \25bc";font-size:.7em}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,500px),1fr));gap:6px 28px}
figure{margin:10px 0;max-width:660px}
figcaption{font-size:.88rem}
details{margin:10px 0}
summary{cursor:pointer;font-weight:600;padding:3px 0;overflow-wrap:anywhere}
svg{display:block;overflow:visible;width:100%;height:auto;font-family:inherit}
svg text{fill:var(--ink);font-size:13px}
svg .tick,svg .axis{fill:var(--soft)}
svg .name{font-weight:600;fill:var(--c)}
svg path{fill:none}
.grid{stroke:var(--line);stroke-width:1}
.base,.zero{stroke:var(--soft);stroke-width:1}
.lead{stroke:var(--line);stroke-width:1}
.front{stroke:var(--soft);stroke-width:1.4;stroke-dasharray:5 4}
.limit{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:2 3}
.line{stroke:var(--c);stroke-width:1.7;stroke-linejoin:round}
.d1 .line{stroke-dasharray:6 3}.d2 .line{stroke-dasharray:2 3}
.curve circle,.part{fill:var(--c)}
.d1.part,.d2.part{opacity:.6}
.part{stroke:var(--page);stroke-width:.6}
.curve:hover .line{stroke-width:3.4}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}
@media (max-width:640px){main,header,footer{padding-left:14px;padding-right:14px}svg text{font-size:15px}svg .name{font-size:14px}h1{font-size:1.35rem}}
@media print{:root{color-scheme:light;--page:#fff;--panel:#f4f4f4;--ink:#000;--soft:#444;--line:#bbb;--c0:#3b4252;--c1:#0072b2;--c2:#d55e00;
--c3:#009e73;--c4:#b4508f;--c5:#b07c00;--c6:#3b97d3;--c7:#7a5c3e;--good:#00704d;--bad:#b23a00}
body{font-size:10pt}nav{display:none}figure,tr{break-inside:avoid}.scroll{overflow:visible}table{font-size:8pt}td .wrap{min-width:0}
th,td{white-space:normal;padding:2px 5px}td.n,td small,td:first-child code{white-space:nowrap}td small{display:inline-block}
td:first-child,th:first-child{position:static;background:none}.figures svg text{font-size:15px}pre{max-height:none;white-space:pre-wrap}
h2,h3{break-after:avoid}main,header,footer{max-width:none;padding:0}.figures{grid-template-columns:1fr 1fr}}
)css";

// A click on a head sorts its table; a second one turns it around. Printing opens what is folded.
const char* const kScript = R"js(
"use strict";
document.querySelectorAll("table").forEach(function(table){
  var body=table.tBodies[0];
  if(!body||body.rows.length<2)return;
  table.classList.add("sortable");
  Array.prototype.forEach.call(table.tHead.rows[0].cells,function(head,column){
    head.tabIndex=0;
    function sort(){
      var up=head.getAttribute("aria-sort")!=="ascending";
      Array.prototype.forEach.call(head.parentNode.cells,function(other){other.removeAttribute("aria-sort");});
      head.setAttribute("aria-sort",up?"ascending":"descending");
      Array.prototype.slice.call(body.rows).map(function(row){
        var cell=row.cells[column],v=cell&&cell.getAttribute("data-v");
        return {row:row,n:v===null||v===undefined?NaN:parseFloat(v),t:cell?cell.textContent:""};
      }).sort(function(a,b){
        var an=isNaN(a.n),bn=isNaN(b.n);
        if(!an&&!bn)return up?a.n-b.n:b.n-a.n;
        if(an!==bn)return an?1:-1;
        return (up?1:-1)*a.t.localeCompare(b.t);
      }).forEach(function(item){body.appendChild(item.row);});
    }
    head.addEventListener("click",sort);
    head.addEventListener("keydown",function(event){if(event.key==="Enter"||event.key===" "){event.preventDefault();sort();}});
  });
});
window.addEventListener("beforeprint",function(){document.querySelectorAll("details:not(.long)").forEach(function(d){d.open=true;});});
)js";

}  // namespace caddie::registry::report
